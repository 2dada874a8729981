"""`python -m ordersys.local` on a machine without RabbitMQ, whose packages nobody knows. Only that is pretended."""

import platform
from typing import NoReturn
from unittest import mock

from ordersys.console import output
from ordersys.local import command_line, packages


def main() -> NoReturn:
    """As the launcher's own."""
    fedora = {"ID": "fedora", "VERSION_ID": "43"}
    output.prepare()
    with (
        mock.patch.object(packages, "_INSTALLED", ()),
        mock.patch.object(platform, "freedesktop_os_release", return_value=fedora),
    ):
        command_line.main()


if __name__ == "__main__":
    main()
