"""Which observations a Sigma rule is about: its `logsource` against what a sensor says.

Windows rules name a category (Sysmon event ids and the built-in twins) or a service (a channel).
Everything else is matched by product, service (the log's name) and category (the activity).

Source: Sigma specification 2.0, appendix "Taxonomy".
"""

from typing import Any, Final, NamedTuple

from cronos.types import Observation

_SYSMON: Final = "microsoft-windows-sysmon/operational"
_SECURITY: Final = "security"
_POWERSHELL: Final = ("microsoft-windows-powershell/operational", "powershellcore/operational")
_CLASSIC: Final = ("windows powershell",)

# category -> event ids of Sysmon
_SYSMON_IDS: Final[dict[str, frozenset[int]]] = {
    "process_creation": frozenset({1}),
    "file_change": frozenset({2}),
    "network_connection": frozenset({3}),
    "sysmon_status": frozenset({4, 16}),
    "process_termination": frozenset({5}),
    "driver_load": frozenset({6}),
    "image_load": frozenset({7}),
    "create_remote_thread": frozenset({8}),
    "raw_access_thread": frozenset({9}),
    "process_access": frozenset({10}),
    "file_event": frozenset({11}),
    "registry_event": frozenset({12, 13, 14}),
    "registry_add": frozenset({12}),
    "registry_delete": frozenset({12}),
    "registry_set": frozenset({13}),
    "registry_rename": frozenset({14}),
    "create_stream_hash": frozenset({15}),
    "pipe_created": frozenset({17, 18}),
    "wmi_event": frozenset({19, 20, 21}),
    "dns_query": frozenset({22}),
    "file_delete": frozenset({23, 26}),
    "clipboard_capture": frozenset({24}),
    "process_tampering": frozenset({25}),
    "file_block": frozenset({27, 28}),
    "file_executable_detected": frozenset({29}),
    "sysmon_error": frozenset({255}),
}
# category -> channels and event ids beside Sysmon's
_OTHER_IDS: Final[dict[str, tuple[tuple[str, ...], frozenset[int]]]] = {
    "process_creation": ((_SECURITY,), frozenset({4688})),
    "ps_module": (_POWERSHELL, frozenset({4103})),
    "ps_script": (_POWERSHELL, frozenset({4104})),
    "ps_classic_start": (_CLASSIC, frozenset({400})),
    "ps_classic_provider_start": (_CLASSIC, frozenset({600})),
    "ps_classic_script": (_CLASSIC, frozenset({800})),
}
# Sysmon tells key creation, key deletion and value deletion apart by a field only.
REGISTRY_KINDS: Final[dict[str, frozenset[str]]] = {
    "registry_add": frozenset({"createkey"}),
    "registry_delete": frozenset({"deletekey", "deletevalue"}),
}

_CHANNELS: Final[dict[str, tuple[str, ...]]] = {
    "security": (_SECURITY,),
    "system": ("system",),
    "application": ("application",),
    "sysmon": (_SYSMON,),
    "powershell": _POWERSHELL,
    "powershell-classic": _CLASSIC,
    "windefend": ("microsoft-windows-windows defender/operational",),
    "taskscheduler": ("microsoft-windows-taskscheduler/operational",),
    "wmi": ("microsoft-windows-wmi-activity/operational",),
    "ntlm": ("microsoft-windows-ntlm/operational",),
    "dns-server": ("dns server",),
    "dns-server-analytic": ("microsoft-windows-dns-server/analytical",),
    "dns-server-audit": ("microsoft-windows-dns-server/audit",),
    "dns-client": ("microsoft-windows-dns-client/operational",),
    "bits-client": ("microsoft-windows-bits-client/operational",),
    "applocker": (
        "microsoft-windows-applocker/exe and dll",
        "microsoft-windows-applocker/msi and script",
        "microsoft-windows-applocker/packaged app-deployment",
        "microsoft-windows-applocker/packaged app-execution",
    ),
    "firewall-as": ("microsoft-windows-windows firewall with advanced security/firewall",),
    "codeintegrity-operational": ("microsoft-windows-codeintegrity/operational",),
    "appxdeployment-server": ("microsoft-windows-appxdeploymentserver/operational",),
    "appxpackaging-om": ("microsoft-windows-appxpackaging/operational",),
    "appmodel-runtime": ("microsoft-windows-appmodel-runtime/admin",),
    "msexchange-management": ("msexchange management",),
    "printservice-admin": ("microsoft-windows-printservice/admin",),
    "printservice-operational": ("microsoft-windows-printservice/operational",),
    "terminalservices-localsessionmanager": (
        "microsoft-windows-terminalservices-localsessionmanager/operational",
    ),
    "smbclient-security": ("microsoft-windows-smbclient/security",),
    "smbclient-connectivity": ("microsoft-windows-smbclient/connectivity",),
    "smbserver-connectivity": ("microsoft-windows-smbserver/connectivity",),
    "driver-framework": ("microsoft-windows-driverframeworks-usermode/operational",),
    "security-mitigations": (
        "microsoft-windows-security-mitigations/kernelmode",
        "microsoft-windows-security-mitigations/usermode",
    ),
    "ldap": ("microsoft-windows-ldap-client/debug",),
    "ldap_debug": ("microsoft-windows-ldap-client/debug",),
    "openssh": ("openssh/operational",),
    "vhdmp": ("microsoft-windows-vhdmp/operational",),
    "lsa-server": ("microsoft-windows-lsa/operational",),
    "shell-core": ("microsoft-windows-shell-core/operational",),
    "diagnosis-scripted": ("microsoft-windows-diagnosis-scripted/operational",),
    "capi2": ("microsoft-windows-capi2/operational",),
    "certificateservicesclient-lifecycle-system": (
        "microsoft-windows-certificateservicesclient-lifecycle-system/operational",
    ),
    "iis-configuration": ("microsoft-iis-configuration/operational",),
    "microsoft-servicebus-client": ("microsoft-servicebus-client",),
    "sense": ("microsoft-windows-sense/operational",),
    "hyper-v-worker": ("microsoft-windows-hyper-v-worker",),
}
# Linux services -> the names under which syslog knows them
_PROGRAMS: Final[dict[str, tuple[str, ...]]] = {
    "auditd": ("auditd", "audit", "audispd", "audisp-syslog"),
    "auth": ("sshd", "sshd-session", "sudo", "su", "login", "systemd-logind"),
    "sshd": ("sshd", "sshd-session"),
    "cron": ("cron", "crond"),
}
# Products of which every program's log is meant where the service says "syslog".
_ANY_PROGRAM: Final = "syslog"
_ACTIVITIES: Final[dict[str, str]] = {
    "process_creation": "process_activity",
    "network_connection": "network_activity",
    "firewall": "network_activity",
    "file_event": "file_activity",
    "file_delete": "file_activity",
    "file_change": "file_activity",
    "dns": "dns_activity",
    "dns_query": "dns_activity",
    "webserver": "http_activity",
    "proxy": "http_activity",
}

_KNOWN_IDS: Final = frozenset(
    number
    for numbers in (*_SYSMON_IDS.values(), *(ids for _, ids in _OTHER_IDS.values()))
    for number in numbers
)
_KNOWN_CHANNELS: Final = frozenset(name for names in _CHANNELS.values() for name in names)


class LogSource(NamedTuple):
    """What a rule says it is about; empty where it does not say."""

    product: str = ""
    category: str = ""
    service: str = ""


class Origin(NamedTuple):
    """What an observation is, as far as rules distinguish: few values, whatever comes."""

    product: str
    log: str
    event_id: int
    activity: str


def origin(observation: Observation, services: frozenset[str]) -> Origin:
    """Give the kind of an observation; log names that no rule in `services` names are one."""
    fields = observation.fields
    product = fields.get("metadata.product")
    if product is None:
        return _shape(observation.native, observation.activity)
    log = str(fields.get("metadata.log_name") or "").lower()
    if product != "windows":
        known = log if log in services else ""
        return Origin(str(product), known, 0, observation.activity)
    number = _event_id(observation.native.get("EventID"))
    return Origin(
        "windows",
        log if log in _KNOWN_CHANNELS else "",
        number if number in _KNOWN_IDS else 0,
        "",
    )


def named_logs(source: LogSource) -> tuple[str, ...]:
    """Give the log names that a rule's service stands for."""
    return _PROGRAMS.get(source.service, (source.service,))


def supported(source: LogSource) -> bool:
    """Say whether any observation could be of this log source."""
    if source.product == "windows":
        if source.category:
            return source.category in _SYSMON_IDS or source.category in _OTHER_IDS
        return not source.service or source.service in _CHANNELS
    return bool(source.product or source.category in _ACTIVITIES or source.service)


def applies(source: LogSource, kind: Origin) -> bool:
    """Say whether a rule is about observations of this kind."""
    if source.product and source.product != kind.product:
        return False
    if kind.product == "windows" and source.product:
        return _windows(source, kind)
    if source.category and _ACTIVITIES.get(source.category) != kind.activity:
        return False
    if source.service and source.service != _ANY_PROGRAM:
        return kind.log in named_logs(source)
    return bool(source.product or source.category or source.service)


def _windows(source: LogSource, kind: Origin) -> bool:
    if source.service and kind.log not in _CHANNELS.get(source.service, ()):
        return False
    if not source.category:
        return True
    if kind.log == _SYSMON:
        return kind.event_id in _SYSMON_IDS.get(source.category, ())
    channels, numbers = _OTHER_IDS.get(source.category, ((), frozenset[int]()))
    return kind.log in channels and kind.event_id in numbers


def _event_id(value: Any) -> int:
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else 0


def _shape(native: dict[str, Any], activity: str) -> Origin:
    """Recognise documents that no sensor of their own has read, by the names they carry."""
    if "eventSource" in native and "eventName" in native:
        return Origin("aws", "cloudtrail", 0, activity)
    return Origin("", "", 0, activity)
