"""HTML pages from the templates of this package."""

from collections.abc import Callable, Mapping
from typing import Any

import jinja2


def render(template: str, tests: Mapping[str, Callable[..., bool]] | None = None, **values: Any) -> str:
    """A page; what goes into it is escaped, and a name that the template does not get is an error.

    Args:
        template: name of its file in `templates`.
        tests: what the template may ask of a value, `value is NAME`.
        values: by the names that the template has for them.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoe_jax.view"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests.update(tests or {})
    return environment.get_template(template).render(**values)
