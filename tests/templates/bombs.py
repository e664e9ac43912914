"""Chat templates that hang or eat memory where nobody counts, by the way they do it."""

BOMBS = {
    "a loop that writes nothing": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a loop over a text": "{% set x = 'x' * 1000000 %}{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}",
    "a text times a number": "{{ 'x' * 10**10 }}",
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
    "a slice of nothing": "{{ [1] | slice(10**10) | list }}",
    "a replace of the empty text": "{{ ('x' * 1000000).replace('', 'x' * 1000000) }}",
    "a join": "{{ ('x' * 1000000).join('x' * 1000000) }}",
    "a path of attributes": "{{ range(99999) | map(attribute='" + "real." * 4_980 + "real') | list }}",
    "colliding keys": "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}"
    "{% set ns.x = ns.x + [i * (2**61 - 1)] %}{% endfor %}{{ ns.x | unique | list }}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "blocks that write each other": "".join(
        f"{{% block b{i} %}}{{{{ self.b{i + 1}() }}}}{{{{ self.b{i + 1}() }}}}{{% endblock %}}" for i in range(40)
    )
    + "{% block b40 %}x{% endblock %}",
    "an integer of a million binary digits": "{{ ('1' * 1000000) | int(base=2) }}",
}  # fmt: skip
