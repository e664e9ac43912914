"""Chat templates that hang or eat memory where nobody counts, by the way they do it."""
# ruff: noqa: E501 - a template is easiest read on one line

BOMBS = {
    "a loop that writes nothing": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a loop whose test never holds": "{% for a in range(99999) %}{% for b in range(99999) if a < 0 %}{% endfor %}{% endfor %}",
    "a loop over a text": "{% set x = 'x' * 1000000 %}{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}",
    "a loop that writes its own text": "{% for a in range(99999) %}" + "x" * 50_000 + "{% endfor %}",
    "a loop in a macro": "{% macro m() %}{% for a in range(99999) %}{{ messages }}{% endfor %}{% endmacro %}{{ m() }}",
    "a loop in a set block": "{% set x %}{% for a in range(99999) %}" + "x" * 9_999 + "{% endfor %}{% endset %}{{ x }}",
    "a loop in a filter block": "{% filter upper %}{% for a in range(99999) %}" + "x" * 9_999 + "{% endfor %}{% endfilter %}",
    "a text times a number": "{{ 'x' * 10**10 }}",
    "a number times a text": "{{ 10**10 * 'x' }}",
    "a list times a number": "{{ [1] * 10**10 }}",
    "a text times a number in a condition": "{% if 'x' * 9999999999 %}{% endif %}",
    "a power": "{{ 10 ** 10 ** 8 }}",
    "a power that grows": "{% set ns = namespace(x=10) %}{% for i in range(99) %}{% set ns.x = ns.x ** 9 %}{% endfor %}",
    "a product that grows": "{% set ns = namespace(x=10) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "a text doubled by ~": "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "a text doubled by +": "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "a text written many times": "{% set x = 'x' * 1000000 %}" + "{{ x }}" * 999,
    "a text joined many times": "{% set x = 'x' * 1000000 %}{{ " + " ~ ".join("x" * 999) + " }}",
    "a text kept under many names": "{% set x = 'x' * 1000000 %}"
    + "".join(f"{{% set x{i} = x[1:] %}}" for i in range(1500)),
    "a list doubled": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "a list of itself twice, written": "{% set ns = namespace(x=[1]) %}{% for i in range(45) %}"
    "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "a dict of itself twice, compared": "{% set ns = namespace(x=1, y=1) %}{% for i in range(45) %}"
    "{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% set ns.y = {'a': ns.y, 'b': ns.y} %}{% endfor %}{{ ns.x == ns.y }}",
    "a namespace of itself twice, written": "{% set ns = namespace(x=1) %}{% for i in range(45) %}"
    "{% set ns.x = namespace(a=ns.x, b=ns.x) %}{% endfor %}{{ [ns.x] * 2000000 }}",
    "a tuple a hundred thousand deep, hashed": "{% set ns = namespace(x=1) %}{% for i in range(99999) %}"
    "{% set ns.x = (ns.x,) %}{% endfor %}{{ {ns.x: 1} }}",
    "a tuple deepened by a macro's arguments": "{% set ns = namespace(x=1) %}{% macro m() %}{% set ns.x = varargs %}"
    "{% endmacro %}{% for i in range(99999) %}{{ m(ns.x) }}{% endfor %}{{ {ns.x: 1} }}",
    "generators in generators": "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}"
    "{% set ns.x = ns.x | map('string') %}{% endfor %}{{ 'x' * 9999999 }}",
    "a number padded by ljust": "{{ 'x'.ljust(10**10) }}",
    "a number padded by center": "{{ 'x' | center(10**10) }}",
    "a number padded by %": "{{ '%1000000000d' % 1 }}",
    "a number padded by the filter format": "{{ '%1000000000d' | format(1) }}",
    "a number padded by str.format": "{{ '{:>1000000000}'.format(1) }}",
    "a batch filled up": "{{ [1] | batch(10**10, 'x') | list }}",
    "a slice of nothing": "{{ [1] | slice(10**10) | list }}",
    "an indent": "{{ 'x\ny' | indent(10**9) }}",
    "an indent of many lines": "{{ ('\n' * 100000) | indent(100000) }}",
    "an indent that is a text": "{{ ('\n' * 100000) | indent('x' * 100000) }}",
    "an indent of JSON": "{{ messages | tojson(indent=10**9) }}",
    "separators of JSON": "{{ ([1] * 1000) | tojson(separators=('x' * 1000000, 'x')) }}",
    "a lorem ipsum": "{{ lipsum(n=10**9) }}",
    "a round": "{{ 1 | round(10**9) }}",
    "a round upwards": "{{ 1.5 | round(10**9, 'ceil') }}",
    "a round to the left": "{{ 1 | round(-10**9) }}",
    "a replace of the empty text": "{{ ('x' * 1000000).replace('', 'x' * 1000000) }}",
    "the filter replace": "{{ ('x' * 1000000) | replace('x', 'x' * 1000000) }}",
    "a replace of safe text": "{{ (('x' * 1000000) | safe).replace('x', 'x' * 1000000) }}",
    "a join": "{{ ('x' * 1000000).join('x' * 1000000) }}",
    "the filter join": "{{ ('x' * 1000000) | join('x' * 1000000) }}",
    "the filter join of a map": "{{ range(99999) | map('string') | join('x' * 1000000) }}",
    "a search from the right": "{{ ('x' * 2000000).rfind('y' + 'x' * 1000000) }}",
    "a strip of many characters": "{{ ('y' * 2000000).strip('x' * 1000000 + 'y') }}",
    "the filter trim of many characters": "{{ ('y' * 2000000) | trim('x' * 1000000 + 'y') }}",
    "a path of attributes": "{{ range(99999) | map(attribute='" + "real." * 4_980 + "real') | list }}",
    "a map in a loop": "{% for i in range(99999) %}{{ range(99999) | map('string') | list }}{% endfor %}",
    "a select in a loop": "{% for i in range(99999) %}{{ range(99999) | select('eq', 1) | list }}{% endfor %}",
    "a sum of ranges": "{{ ([range(99999)] * 9999) | map('list') | sum(start=[]) }}",
    "colliding keys": "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}"
    "{% set ns.x = ns.x + [i * (2**61 - 1)] %}{% endfor %}{{ ns.x | unique | list }}",
    "a search in a long text, again and again": "{% set x = 'x' * 1000000 %}{% for i in range(99999) %}"
    "{% if 'y' in x %}{% endif %}{% endfor %}",
    "a long comparison, again and again": "{% set x = ['x'] * 10000 %}{% set y = ['x'] * 10000 %}{% for i in range(99999) %}{% if x == y %}{% endif %}{% endfor %}",
    "a range of ranges": "{{ ([range(99999)] * 9999) | map('list') | list }}",
    "a range too long": "{{ range(10**9) | list }}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "a caller that calls": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call m() %}" * 18 + "x" * 99 + "{% endcall %}" * 18,
    "a loop that recurs": "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "blocks that write each other": "".join(
        f"{{% block b{i} %}}{{{{ self.b{i + 1}() }}}}{{{{ self.b{i + 1}() }}}}{{% endblock %}}" for i in range(40)
    )
    + "{% block b40 %}x{% endblock %}",
    "an integer of a million binary digits": "{{ ('1' * 1000000) | int(base=2) }}",
    "a budget given back by its own filter": "{{ [-10**14] | map(' turn') | list }}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a budget given back by an indent": "{{ 'x\\ny' | indent(-10**14) }}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a title, again and again": "{% set x = 'a ' * 50000 %}{% for a in range(99999) %}{% if x | title %}{% endif %}{% endfor %}",
    "JSON, again and again": "{% set x = [1] * 5000 %}{% for a in range(99999) %}{% if x | tojson(indent=1) %}{% endif %}{% endfor %}",
    "one wide letter in a long text": "{% set y %}" + "{{ 'x' * 1000000 }}" * 99 + "🐟{% endset %}{{ y | length }}",
    "many words": "{% set x = 'a ' * 100000 %}{% for a in range(99999) %}{% if x.split() %}{% endif %}{% endfor %}",
    "an attribute of a huge number": "{{ (10 ** 9).to_bytes(10**9) }}",
}  # fmt: skip
