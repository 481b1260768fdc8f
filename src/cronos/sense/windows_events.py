"""What each known Windows event means: its activity, its normalised fields and who acted.

Sources: Sysmon's schema 4.90 (events 1 to 26) and Microsoft's "Appendix L: Events to monitor".
"""

from typing import Final, Literal, NamedTuple

from cronos.sense.normal import address, text, user
from cronos.sense.records import Record
from cronos.types import Entity, EntityKind, Provenance, Scalar

Names = tuple[tuple[str, str], ...]
_LOOPBACK: Final = ("127.", "::1")
_INBOUND: Final = ("%%14592", "Inbound")
_SYSMON: Final = "sysmon"
_CLASSES: Final = {
    "security": "security",
    "system": "system",
    "windows powershell": "powershell",
    "microsoft-windows-powershell/operational": "powershell",
    "powershellcore/operational": "powershell",
    "microsoft-windows-sysmon/operational": _SYSMON,
    "linux-sysmon/operational": _SYSMON,
    "microsoft-windows-security-auditing": "security",
    "microsoft-windows-sysmon": _SYSMON,
    "microsoft-windows-eventlog": "security",
    "service control manager": "system",
}


class Rule(NamedTuple):
    """How one event is read.

    `status` is given by the event itself, or ``"code"`` where its field Status tells. `who` names
    the actor: the remote address if there is one and else the user, or the user at once.
    `doubt` says when the event repeats a claim that nobody has proved.
    """

    activity: str
    names: Names = ()
    status: str = ""
    who: Literal["address", "user", "subject", "target_user"] = "user"
    doubt: Literal["", "always", "inbound", "inbound_udp"] = ""


_PROCESS: Final[Names] = (
    ("process.file.path", "Image"),
    ("process.pid", "ProcessId"),
    ("actor.user.name", "User"),
)
_INJECTION: Final[Names] = (
    ("process.file.path", "SourceImage"),
    ("process.pid", "SourceProcessId"),
    ("target_process.file.path", "TargetImage"),
    ("actor.user.name", "SourceUser"),
)
_REGISTRY: Final = Rule(
    "registry_activity",
    (("reg_key.path", "TargetObject"), ("reg_value.data", "Details"), *_PROCESS),
)
_LOGON: Final[Names] = (
    ("user.name", "TargetUserName"),
    ("user.domain", "TargetDomainName"),
    ("src_endpoint.ip", "IpAddress"),
    ("src_endpoint.port", "IpPort"),
    ("service.name", "LogonProcessName"),
    ("logon_type_id", "LogonType"),
)
_KERBEROS: Final[Names] = (
    ("user.name", "TargetUserName"),
    ("user.domain", "TargetDomainName"),
    ("src_endpoint.ip", "IpAddress"),
    ("src_endpoint.port", "IpPort"),
    ("service.name", "ServiceName"),
)
_SHARE: Final[Names] = (
    ("share.name", "ShareName"),
    ("file.path", "RelativeTargetName"),
    ("user.name", "SubjectUserName"),
    ("src_endpoint.ip", "IpAddress"),
    ("src_endpoint.port", "IpPort"),
)
_FILTERED: Final[Names] = (
    ("src_endpoint.ip", "SourceAddress"),
    ("src_endpoint.port", "SourcePort"),
    ("dst_endpoint.ip", "DestAddress"),
    ("dst_endpoint.port", "DestPort"),
    ("process.file.path", "Application"),
)
_SUBJECT: Final[Names] = (("actor.user.name", "SubjectUserName"),)
_ACCOUNT: Final[Names] = (("user.name", "TargetUserName"), *_SUBJECT)

OTHER: Final = Rule("base_event")
_RULES: Final[dict[tuple[str, int], Rule]] = {
    (_SYSMON, 1): Rule(
        "process_activity",
        (
            *_PROCESS,
            ("process.cmd_line", "CommandLine"),
            ("parent_process.file.path", "ParentImage"),
            ("parent_process.cmd_line", "ParentCommandLine"),
        ),
    ),
    (_SYSMON, 3): Rule(
        "network_activity",
        (
            ("src_endpoint.ip", "SourceIp"),
            ("src_endpoint.port", "SourcePort"),
            ("dst_endpoint.ip", "DestinationIp"),
            ("dst_endpoint.port", "DestinationPort"),
            ("connection_info.protocol_name", "Protocol"),
            *_PROCESS,
        ),
        "open",
        "address",
        "inbound_udp",
    ),
    (_SYSMON, 5): Rule("process_activity", _PROCESS, "terminated"),
    (_SYSMON, 7): Rule("module_activity", (("module.file.path", "ImageLoaded"), *_PROCESS)),
    (_SYSMON, 8): Rule("process_activity", _INJECTION, "injected"),
    (_SYSMON, 10): Rule("process_activity", _INJECTION, "opened"),
    (_SYSMON, 11): Rule("file_activity", (("file.path", "TargetFilename"), *_PROCESS)),
    (_SYSMON, 12): _REGISTRY,
    (_SYSMON, 13): _REGISTRY,
    (_SYSMON, 14): _REGISTRY,
    (_SYSMON, 22): Rule("dns_activity", (("query.hostname", "QueryName"), *_PROCESS)),
    (_SYSMON, 23): Rule("file_activity", (("file.path", "TargetFilename"), *_PROCESS)),
    ("security", 1102): Rule("base_event", _SUBJECT, who="subject"),
    ("security", 4624): Rule("authentication", _LOGON, "success", "address"),
    ("security", 4625): Rule("authentication", _LOGON, "failure", "address"),
    # The end of a session and its privileges: neither a success nor a failure to count.
    ("security", 4634): Rule("authentication", _LOGON, who="target_user"),
    ("security", 4672): Rule(
        "authentication", (("user.name", "SubjectUserName"), *_SUBJECT), who="subject"
    ),
    ("security", 4648): Rule("authentication", (*_LOGON, *_SUBJECT), who="subject"),
    ("security", 4688): Rule(
        "process_activity",
        (
            ("process.file.path", "NewProcessName"),
            ("process.cmd_line", "CommandLine"),
            ("process.pid", "NewProcessId"),
            ("parent_process.file.path", "ParentProcessName"),
            *_SUBJECT,
        ),
        who="subject",
    ),
    ("security", 4697): Rule(
        "base_event",
        (("service.name", "ServiceName"), ("file.path", "ServiceFileName"), *_SUBJECT),
        who="subject",
    ),
    ("security", 4698): Rule("base_event", (("job.name", "TaskName"), *_SUBJECT), who="subject"),
    ("security", 4720): Rule("base_event", _ACCOUNT, who="subject"),
    ("security", 4768): Rule("authentication", _KERBEROS, "code", "address", "always"),
    # The ticket it names was checked: the user is known, the address is not.
    ("security", 4769): Rule("authentication", _KERBEROS, "code", "target_user"),
    ("security", 4771): Rule("authentication", _KERBEROS, "failure", "address", "always"),
    # The workstation is a name that the client chose.
    ("security", 4776): Rule("authentication", (("user.name", "TargetUserName"),), "code"),
    ("security", 5140): Rule("file_activity", _SHARE, who="address"),
    ("security", 5145): Rule("file_activity", _SHARE, who="address"),
    ("security", 5156): Rule("network_activity", _FILTERED, "", "address", "inbound"),
    ("security", 5157): Rule("network_activity", _FILTERED, "", "address", "inbound"),
    ("powershell", 4103): Rule("base_event", (("script.content", "Payload"),)),
    ("powershell", 4104): Rule("base_event", (("script.content", "ScriptBlockText"),)),
    ("system", 7045): Rule(
        "base_event", (("service.name", "ServiceName"), ("file.path", "ImagePath"))
    ),
}


def lookup(view: Record) -> Rule:
    """Give the rule for an event: by its channel, or by its provider where none is named."""
    number = view["EventID"]
    for name in ("Channel", "Provider_Name"):
        origin = view.get(name)
        if isinstance(origin, str):
            known = _CLASSES.get(origin.lower())
            if known is not None:
                return _RULES.get((known, number), OTHER)
    return OTHER


def entities(
    view: Record, rule: Rule, fields: dict[str, Scalar]
) -> tuple[Entity | None, Entity | None]:
    """Give who acted and, for a connection, the address at its other end.

    Addresses among `fields` are brought into their one spelling, or taken out if they are none.
    """
    source, destination = _endpoint(fields, "src_endpoint"), _endpoint(fields, "dst_endpoint")
    name = fields.get("connection_info.protocol_name")
    if isinstance(name, str):
        fields["connection_info.protocol_name"] = name.lower()
    elif rule.names is _FILTERED:
        protocol = _PROTOCOLS.get(str(view.get("Protocol")))
        if protocol is not None:
            fields["connection_info.protocol_name"] = protocol
    if rule.status == "code":
        fields["status"] = "success" if str(view.get("Status")) in _FINE else "failure"
    if rule.who == "address" and source is not None and not source.value.startswith(_LOOPBACK):
        return source, destination
    return _user(view, rule), destination


def _endpoint(fields: dict[str, Scalar], end: str) -> Entity | None:
    name = f"{end}.ip"
    if name not in fields:
        return None
    found = address(fields[name])
    if found is None:
        del fields[name]
    else:
        fields[name] = found.value
    return found


def _user(view: Record, rule: Rule) -> Entity | None:
    if rule.who == "subject" or rule.activity == "file_activity":
        subject = user(view.get("SubjectUserName"), view.get("SubjectDomainName"))
        if subject is not None:
            return subject
    if rule.activity == "authentication":
        return user(view.get("TargetUserName"), view.get("TargetDomainName"))
    full = text(view.get("User") or view.get("SourceUser"))
    return Entity(EntityKind.USER, full[:255]) if full is not None else None


def claim(view: Record, rule: Rule) -> Provenance:
    """Say how far the event's actor is proved."""
    if rule.doubt == "":
        return Provenance.AUTHENTICATED
    if rule.doubt == "inbound":
        inbound = view.get("Direction") in _INBOUND
        return Provenance.SPOOFABLE if inbound else Provenance.AUTHENTICATED
    if rule.doubt == "inbound_udp":
        ours = str(view.get("Initiated")).lower() == "true"
        if ours or str(view.get("Protocol")).lower() == "tcp":
            return Provenance.AUTHENTICATED
    return Provenance.SPOOFABLE


_PROTOCOLS: Final = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmp"}
_FINE: Final = ("0x0", "0", "0x00000000")
