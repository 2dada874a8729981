"""The addresses at which the processes of a system listen: those that were given, the usual ports, or free ones."""

from collections.abc import Collection, Iterable, Sequence

from ordersys.contract import addresses
from ordersys.contract.addresses import Address, Addresses
from ordersys.local import ports
from ordersys.local.choices import USUAL_PORTS, Choices

INTERNAL = "ORDERSYS_ORDER_SERVICE_INTERNAL_ADDRESS"
METRICS = "ORDERSYS_METRICS_ADDRESS"
_ORDER_SERVICE = "order_service"


class Listening:
    """The addresses of all processes, by name: the module, with `-2` and so on behind it for the others of one."""

    def __init__(self, choices: Choices) -> None:
        """Raises ValueError when an address among the choices is none."""
        self._choices = choices
        self.given = {module: addresses.parse(text) for module, text in choices.addresses.items()}
        """Those that were given; `choose` chooses the others."""
        self.addresses = dict(self.given)
        """Those that clients call."""
        self.internal: dict[str, Address] = {}
        """Those at which the processes of the Order Service listen to other services, where there are identities."""
        self.metrics: dict[str, Address] = {}
        """Those at which the processes of ours serve their metrics."""
        self.at_usual_ports = False
        """True when all that were not given are the usual ones."""

    def names(self, module: str) -> Sequence[str]:
        """The names of the processes of a service; the first has that of the service."""
        return [module, *(f"{module}-{number}" for number in range(2, self._choices.replicas + 1))]

    @property
    def processes(self) -> Sequence[str]:
        """The names of all processes."""
        return [name for module in self._choices.services for name in self.names(module)]

    @property
    def by_module(self) -> dict[str, Address | Addresses]:
        """The address of each service: a list where it has several processes."""
        modules = dict.fromkeys(name.partition("-")[0] for name in self.addresses)
        each = {module: [self.addresses[name] for name in self.names(module)] for module in modules}
        return {module: at[0] if len(at) == 1 else Addresses(tuple(at)) for module, at in each.items()}

    @property
    def found_by(self) -> dict[str, str]:
        """The settings by which services and clients find each other."""
        return {variable(module): str(at) for module, at in self.by_module.items()}

    @property
    def found_by_services(self) -> dict[str, str]:
        """The setting by which services find the Order Service, where there are identities."""
        return {INTERNAL: str(Addresses(tuple(self.internal.values())))}

    def settings_of(self, name: str) -> dict[str, str]:
        """The settings by which a process listens: at one address of each kind."""
        own = {variable(name.partition("-")[0]): self.addresses[name]}
        own |= {INTERNAL: self.internal[name]} if name in self.internal else {}
        own |= {METRICS: self.metrics[name]} if name in self.metrics else {}
        return {setting: str(address) for setting, address in own.items()}

    def choose(self, usual: bool, in_use: Iterable[int], has_identities: bool) -> None:
        """Chooses a port for each process that was given none, and none of those in use. Raises OSError without any.

        The usual ones for all or for none: with half of them a client that was told nothing would talk to two systems.
        """
        missing = [name for name in self.processes if name not in self.given]
        reserved = {*in_use, *(address.port for address in self.given.values())}
        chosen = [USUAL_PORTS[name] for name in missing if name in USUAL_PORTS]
        usual = usual and all(port not in reserved and ports.is_free(port) for port in chosen)
        at_usual = {
            name: Address(ports.LOOPBACK, USUAL_PORTS[name]) for name in missing if usual and name in USUAL_PORTS
        }
        others = [name for name in missing if name not in at_usual]
        at_free = _at_free_ports(others, {*reserved, *USUAL_PORTS.values()} if usual else reserved)
        self.addresses.update(at_usual | at_free)
        reserved.update(USUAL_PORTS.values(), (address.port for address in self.addresses.values()))
        if has_identities:
            self.internal = _at_free_ports(self.names(_ORDER_SERVICE), reserved)
            reserved.update(address.port for address in self.internal.values())
        if METRICS not in self._choices.settings:
            ours = [name for name in self.processes if program(self._choices, name) is None]
            self.metrics = _at_free_ports(ours, reserved)
        self.at_usual_ports = usual


def program(choices: Choices, name: str) -> Sequence[str] | None:
    """The program in the place of ours that runs as a process of this name, None where ours does."""
    return choices.programs.get(name) or choices.programs.get(name.partition("-")[0])


def variable(module: str) -> str:
    """The variable that says where a service listens, and where others find it."""
    return f"ORDERSYS_{module.upper()}_ADDRESS"


def _at_free_ports(names: Collection[str], reserved: Collection[int]) -> dict[str, Address]:
    """An address of this machine for each name, by name. Raises OSError where there is no free port."""
    free = ports.free(len(names), reserved)
    return {name: Address(ports.LOOPBACK, port) for name, port in zip(names, free, strict=True)}
