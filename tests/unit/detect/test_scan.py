import pytest

from cronos.detect.scan import ScanConfig, ScanDetector
from cronos.types import Entity, EntityKind, EvidenceClass, Observation, Provenance

SECOND = 1_000_000_000
PLC = "198.51.100.2"
GUEST = "192.0.2.7"


def contact(seq, port, status="refused", server=PLC, at_s=None, **more):
    protocol = more.get("protocol", "tcp")
    return Observation(
        source=more.get("source", "site.pcap"),
        seq=seq,
        time_ns=int((seq * 0.1 if at_s is None else at_s) * SECOND),
        activity="network_activity",
        provenance=more.get("provenance", Provenance.SPOOFABLE),
        actor=Entity(EntityKind.ADDRESS, GUEST),
        target=Entity(EntityKind.ADDRESS, server),
        fields={
            "src_endpoint.ip": GUEST,
            "src_endpoint.port": 40000,
            "dst_endpoint.ip": server,
            "dst_endpoint.port": port,
            "connection_info.protocol_name": protocol,
            "status": status,
        },
    )


def ports(count, **more):
    return [contact(seq, 1000 + seq, **more) for seq in range(1, count + 1)]


def test_fifteen_refused_ports_are_one_scan():
    findings = ScanDetector(ScanConfig()).detect(ports(40))
    assert len(findings) == 1
    (finding,) = findings
    assert finding.techniques == ("T1046",)
    assert finding.evidence is EvidenceClass.STATISTICAL
    assert finding.provenance is Provenance.SPOOFABLE
    assert finding.actor == Entity(EntityKind.ADDRESS, GUEST)
    assert finding.target == Entity(EntityKind.ADDRESS, PLC)
    assert finding.finding_id == "scan.ports:site.pcap#15"
    assert f"{GUEST} tried 15 ports of {PLC} within 1.4 s; 15 refused" in finding.explanation
    assert len(finding.observations) == 15


def test_a_scan_that_goes_on_escalates_and_does_not_repeat_itself():
    findings = ScanDetector(ScanConfig()).detect(ports(400))
    assert [f.severity for f in findings] == [3, 4, 5]


def test_fourteen_ports_are_no_scan():
    assert ScanDetector(ScanConfig()).detect(ports(14)) == []


def test_a_client_that_is_mostly_answered_does_not_scan():
    assert ScanDetector(ScanConfig()).detect(ports(60, status="open")) == []


def test_the_same_port_again_counts_once():
    again = [contact(seq, 502) for seq in range(1, 100)]
    assert ScanDetector(ScanConfig()).detect(again) == []


def test_slow_contacts_leave_the_window_before_it_fills():
    slow = [contact(seq, 1000 + seq, at_s=seq * 5) for seq in range(1, 100)]
    assert ScanDetector(ScanConfig()).detect(slow) == []


def test_after_quiet_a_new_scan_is_told_again():
    detector = ScanDetector(ScanConfig())
    assert len(detector.detect(ports(20))) == 1
    later = [contact(seq, 1000 + seq, at_s=1000 + seq * 0.1) for seq in range(21, 41)]
    assert len(detector.detect(later)) == 1


def test_a_sweep_for_modbus_is_discovery_of_plant_equipment():
    sweep = [contact(n, 502, "no_answer", f"198.51.100.{n}") for n in range(1, 8)]
    (finding,) = ScanDetector(ScanConfig()).detect(sweep)
    assert finding.techniques == ("T0846",)
    assert finding.target is None
    assert "6 servers on tcp port 502" in finding.explanation


def test_a_sweep_of_an_ordinary_port_needs_more_servers():
    sweep = [contact(n, 445, "no_answer", f"198.51.100.{n}") for n in range(1, 31)]
    (finding,) = ScanDetector(ScanConfig()).detect(sweep)
    assert finding.techniques == ("T1046",)


def test_a_traceroute_is_no_scan():
    probes = [contact(n, 33434 + n, "datagram", protocol="udp") for n in range(90)]
    assert ScanDetector(ScanConfig()).detect(probes) == []


def test_a_clock_that_is_set_back_starts_the_window_anew():
    detector = ScanDetector(ScanConfig())
    before = [contact(seq, 1000 + seq, at_s=10_000 + seq) for seq in range(1, 11)]
    after = [contact(seq, 1000 + seq, at_s=seq) for seq in range(11, 21)]
    assert detector.detect([*before, *after]) == []
    more = [contact(seq, 1000 + seq, at_s=seq) for seq in range(21, 30)]
    assert len(detector.detect(more)) == 1


def test_one_absurd_time_does_not_blind_the_detector():
    detector = ScanDetector(ScanConfig())
    assert detector.detect([contact(1, 80, at_s=9_000_000_000), *ports(20)[1:]]) != []


def test_forged_packets_do_not_weaken_what_completed_exchanges_show():
    forged = ports(20)
    real = [contact(seq, 5000 + seq, provenance=Provenance.BIDIRECTIONAL) for seq in range(21, 60)]
    findings = ScanDetector(ScanConfig()).detect([*forged[:14], *real])
    assert findings[0].provenance is Provenance.SPOOFABLE
    # The fifteen that completed are told of anew, by their own count.
    assert [one.provenance for one in findings[1:]] == [Provenance.BIDIRECTIONAL]
    assert findings[1].finding_id == "scan.ports:site.pcap#35"
    only_real = ScanDetector(ScanConfig()).detect(real)
    assert only_real[0].provenance is Provenance.BIDIRECTIONAL


def test_two_sources_with_their_own_clocks_are_not_mixed():
    mixed = [
        contact(seq, 1000 + seq, source=name, at_s=seq + shift)
        for seq in range(1, 11)
        for name, shift in (("a", 0), ("b", 100_000))
    ]
    assert ScanDetector(ScanConfig()).detect(mixed) == []


def test_memory_is_bounded_under_a_flood_of_sources():
    detector = ScanDetector(ScanConfig(max_keys=64))
    for n in range(1000):
        detector.detect([contact(n, 80, server=f"198.51.{n // 250}.{n % 250}")])
    assert len(detector.snapshot()) < 64 * 400


def test_a_saved_state_goes_on_where_it_was():
    first, second = ScanDetector(ScanConfig()), ScanDetector(ScanConfig())
    first.detect(ports(14))
    second.restore(first.snapshot())
    assert second.detect([contact(15, 4000)]) == first.detect([contact(15, 4000)]) != []


def test_a_broken_state_is_refused():
    with pytest.raises(ValueError, match="not a saved"):
        ScanDetector(ScanConfig()).restore(b"\xc1\xff")


def test_a_forged_scan_of_many_ports_does_not_silence_the_real_one_or_push_it_out():
    detector = ScanDetector(ScanConfig())
    forged = [contact(seq, 1000 + seq, at_s=1) for seq in range(1, 201)]
    real = [
        contact(200 + seq, 9000 + seq, at_s=2, provenance=Provenance.BIDIRECTIONAL)
        for seq in range(1, 15)
    ]
    more = [contact(300 + seq, 20_000 + seq, at_s=3) for seq in range(1, 201)]
    last = contact(600, 9015, at_s=4, provenance=Provenance.BIDIRECTIONAL)
    assert {one.provenance for one in detector.detect(forged)} == {Provenance.SPOOFABLE}
    assert detector.detect([*real, *more]) == []
    (finding,) = detector.detect([last])
    assert finding.provenance is Provenance.BIDIRECTIONAL
    # Only the fifteen are proven, so their level's confidence is all it claims.
    assert finding.confidence == 0.75
