"""The Jinja environment of the pages that the pipeline writes: templates `*.j2` beside this file."""

import jinja2


def environment() -> jinja2.Environment:
    """Escapes what goes into `*.html.j2`; an undefined name is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("rbft_ray.pipeline", "."),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
