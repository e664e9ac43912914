"""Chat templates that hang or eat memory where nobody counts, by the way they do it."""
# ruff: noqa: E501 - a template is easiest read on one line

BOMBS = {
    "a loop that writes nothing": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a loop whose test never holds": "{% for a in range(99999) %}{% for b in range(99999) if a < 0 %}{% endfor %}{% endfor %}",
    "a loop over a text": "{% set x = 'x' * 1000000 %}{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}",
    "a loop in a macro": "{% macro m() %}{% for a in range(99999) %}{{ messages }}{% endfor %}{% endmacro %}{{ m() }}",
    "a loop in a filter block": "{% filter upper %}{% for a in range(99999) %}" + "x" * 9_999 + "{% endfor %}{% endfilter %}",
    "a text times a number": "{{ 'x' * 10**10 }}",
    "a product that grows": "{% set ns = namespace(x=10) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "a text doubled by ~": "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "a text written many times": "{% set x = 'x' * 1000000 %}" + "{{ x }}" * 999,
    "a text kept under many names": "{% set x = 'x' * 1000000 %}"
    + "".join(f"{{% set x{i} = x[1:] %}}" for i in range(1500)),
    "a list of itself twice, written": "{% set ns = namespace(x=[1]) %}{% for i in range(45) %}"
    "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "a dict of itself twice, compared": "{% set ns = namespace(x=1, y=1) %}{% for i in range(45) %}"
    "{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% set ns.y = {'a': ns.y, 'b': ns.y} %}{% endfor %}{{ ns.x == ns.y }}",
    "a tuple a hundred thousand deep, hashed": "{% set ns = namespace(x=1) %}{% for i in range(99999) %}"
    "{% set ns.x = (ns.x,) %}{% endfor %}{{ {ns.x: 1} }}",
    "generators in generators": "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}"
    "{% set ns.x = ns.x | map('string') %}{% endfor %}{{ 'x' * 9999999 }}",
    "a number padded by ljust": "{{ 'x'.ljust(10**10) }}",
    "a number padded by str.format": "{{ '{:>1000000000}'.format(1) }}",
    "a slice of nothing": "{{ [1] | slice(10**10) | list }}",
    "an indent": "{{ 'x\ny' | indent(10**9) }}",
    "an indent of JSON": "{{ messages | tojson(indent=10**9) }}",
    "a round upwards": "{{ 1.5 | round(10**9, 'ceil') }}",
    "a replace of the empty text": "{{ ('x' * 1000000).replace('', 'x' * 1000000) }}",
    "a join": "{{ ('x' * 1000000).join('x' * 1000000) }}",
    "a strip of many characters": "{{ ('y' * 2000000).strip('x' * 1000000 + 'y') }}",
    "a path of attributes": "{{ range(99999) | map(attribute='" + "real." * 4_980 + "real') | list }}",
    "a map in a loop": "{% for i in range(99999) %}{{ range(99999) | map('string') | list }}{% endfor %}",
    "colliding keys": "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}"
    "{% set ns.x = ns.x + [i * (2**61 - 1)] %}{% endfor %}{{ ns.x | unique | list }}",
    "a long comparison, again and again": "{% set x = ['x'] * 10000 %}{% set y = ['x'] * 10000 %}{% for i in range(99999) %}{% if x == y %}{% endif %}{% endfor %}",
    "a range too long": "{{ range(10**9) | list }}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "a loop that recurs": "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "blocks that write each other": "".join(
        f"{{% block b{i} %}}{{{{ self.b{i + 1}() }}}}{{{{ self.b{i + 1}() }}}}{{% endblock %}}" for i in range(40)
    )
    + "{% block b40 %}x{% endblock %}",
    "an integer of a million binary digits": "{{ ('1' * 1000000) | int(base=2) }}",
    "JSON, again and again": "{% set x = [1] * 5000 %}{% for a in range(99999) %}{% if x | tojson(indent=1) %}{% endif %}{% endfor %}",
    "an attribute of a huge number": "{{ (10 ** 9).to_bytes(10**9) }}",
}  # fmt: skip
