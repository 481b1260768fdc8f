"""Bring every JSON form of a Windows event into one flat view under Windows' own names.

Sigma rules name what stands in EventData (``Image``, ``TargetUserName``) and in System
(``EventID``, ``Channel``, ``Provider_Name``, ``Computer``). Five writers spell that differently:
flat (NXLog, Mordor, Sentinel), Winlogbeat 6 (``event_data``), Winlogbeat 7 and later
(``winlog.event_data``), and the nested Event/System/EventData of converters from EVTX, whose
attributes stand under ``#attributes``, under ``@Name`` or bare.
"""

import html
import re
from typing import Any, Final, cast

from cronos.sense.normal import integer, part
from cronos.sense.records import Record, decode

_XML_DATA: Final = re.compile(r'<Data Name="([^"<>]{1,128})">([^<]*)</Data>')
_MAX_DATA: Final = 512
_TEXT_KEYS: Final = ("#text", "Value", "value", "text", "content", "$")
_TIMES: Final = ("UtcTime", "TimeCreated", "SystemTime", "@timestamp", "EventTime", "TimeGenerated")


def flatten(record: Record) -> Record | None:
    """Give the flat view of a record in any of the forms, or None if it is no Windows event.

    A record that is flat already is completed in place: nothing of it is removed.
    """
    if "EventID" in record:
        view = _flat(record)
    elif "winlog" in record:
        view = _winlogbeat(part(record, "winlog"), record)
    elif "event_id" in record and ("event_data" in record or "log_name" in record):
        view = _winlogbeat(record, record)
    else:
        event = part(record, "Event") or record
        view = _nested(event) if isinstance(event.get("System"), dict) else None
    if view is None or not isinstance(view.get("EventID"), int):
        return None
    _without_spaces(view)
    return view


def moment(view: Record) -> object:
    """Give the event's time as it is spelt; Sysmon's own first, then the log's, then a shipper's.

    ``EventTime`` comes late: NXLog writes it in local time without a zone.
    """
    return next((stamp for name in _TIMES if (stamp := view.get(name))), None)


def _flat(record: Record) -> Record | None:
    number = integer(record["EventID"])
    if number is None:
        return None
    record["EventID"] = number
    inner = record.get("EventData")
    if inner is not None:
        for key, value in _event_data(inner).items():
            record.setdefault(key, value)
    if "Provider_Name" not in record:
        _alias(record, "Provider_Name", ("SourceName", "EventSourceName", "Provider"))
    if "Computer" not in record:
        _alias(record, "Computer", ("Hostname", "host_name", "DeviceName"))
    # NXLog keeps its own severity under EventType and misspells where it moved Sysmon's.
    if "EventTypeOrignal" in record:
        record["EventType"] = record["EventTypeOrignal"]
    return record


def _alias(record: Record, name: str, others: tuple[str, ...]) -> None:
    for other in others:
        value = record.get(other)
        if isinstance(value, str):
            record[name] = value
            return


_BEAT: Final = (
    ("Channel", ("channel", "log_name")),
    ("Provider_Name", ("provider_name", "source_name")),
    ("Computer", ("computer_name",)),
    ("ProviderGuid", ("provider_guid",)),
    ("RecordNumber", ("record_id", "record_number")),
    ("Task", ("task",)),
    ("Opcode", ("opcode",)),
    ("Keywords", ("keywords",)),
    ("Version", ("version",)),
)


def _winlogbeat(log: Record, record: Record) -> Record | None:
    view: Record = dict(_event_data(log.get("event_data")))
    view.update(_event_data(log.get("user_data")))
    for name, others in _BEAT:
        value = next((log[other] for other in others if other in log), None)
        if value is not None:
            view[name] = value
    view["EventID"] = integer(log.get("event_id"))
    if "message" in record:
        view["Message"] = record["message"]
    stamp = record.get("@timestamp")
    if stamp is not None:
        view["TimeCreated"] = stamp
    return view


def _nested(event: Record) -> Record:
    system = part(event, "System")
    view: Record = dict(_event_data(event.get("EventData")))
    for value in part(event, "UserData").values():
        if isinstance(value, dict):
            view.update(_event_data(cast("Record", value)))
    for name in ("Channel", "Computer", "Task", "Level", "Keywords", "Opcode", "Version"):
        if name in system:
            view[name] = _text(system[name])
    view["EventID"] = integer(_text(system.get("EventID")))
    view["Provider_Name"] = _attribute(system.get("Provider"), "Name")
    view["ProviderGuid"] = _attribute(system.get("Provider"), "Guid")
    view["TimeCreated"] = _attribute(system.get("TimeCreated"), "SystemTime")
    view["RecordNumber"] = _text(system.get("EventRecordID"))
    view["ExecutionProcessID"] = _attribute(system.get("Execution"), "ProcessID")
    view["UserID"] = _attribute(system.get("Security"), "UserID")
    return {key: value for key, value in view.items() if value is not None}


def _attribute(element: object, name: str) -> Any:
    """Give an XML attribute of `element` as any converter spells it."""
    if not isinstance(element, dict):
        return element if name in ("Name", "SystemTime") else None
    attributes = cast("Record", element)
    inner = attributes.get("#attributes", attributes.get("$"))
    if isinstance(inner, dict):
        attributes = cast("Record", inner)
    return attributes.get(name, attributes.get(f"@{name}"))


def _text(element: object) -> Any:
    if isinstance(element, dict):
        inner = cast("Record", element)
        return next((inner[key] for key in _TEXT_KEYS if key in inner), None)
    return element


def _event_data(data: object) -> Record:
    """Give names and values of EventData: an object, JSON or XML in text, or Data elements."""
    if isinstance(data, str):
        return _event_text(data)
    if not isinstance(data, dict):
        return {}
    inner = cast("Record", data)
    elements = inner.get("Data")
    if not isinstance(elements, list):
        return inner if "#attributes" not in inner else _bare(inner)
    named = {key: value for key, value in inner.items() if key not in ("Data", "#attributes")}
    unnamed: list[Any] = []
    for element in cast("list[object]", elements)[:_MAX_DATA]:
        name = None if isinstance(element, str) else _attribute(element, "Name")
        if isinstance(name, str):
            named[name] = _text(element)
        else:
            unnamed.append(_text(element))
    if unnamed:
        named["Data"] = unnamed
    return named


def _bare(data: Record) -> Record:
    return {key: value for key, value in data.items() if key != "#attributes"}


def _event_text(data: str) -> Record:
    if data.startswith("{"):
        return decode(data.encode(errors="replace")) or {}
    found = _XML_DATA.finditer(data)
    return {
        match[1]: html.unescape(match[2]) for match, _ in zip(found, range(_MAX_DATA), strict=False)
    }


def _without_spaces(view: Record) -> None:
    """Offer ``Threat Name`` as ``ThreatName`` too: rules spell it so."""
    if " " in "".join(view):
        for key in [key for key in view if " " in key]:
            view.setdefault(key.replace(" ", ""), view[key])
