"""The catalogue: kind, name, and where the plug-in is; each is imported on first use.

A new plug-in is one file and one line here.
"""

from typing import Final

CATALOG: Final[dict[str, dict[str, str]]] = {
    "sensor": {
        "pcap": "cronos.sense.pcap:PcapSensor",
        "eve": "cronos.sense.eve:EveSensor",
        "zeek": "cronos.sense.zeek:ZeekSensor",
        "windows": "cronos.sense.windows:WindowsSensor",
        "syslog": "cronos.sense.syslog:SyslogSensor",
        "json": "cronos.sense.jsonlines:JsonLinesSensor",
        "tap-frames": "cronos.sense.tap:TapSensor",
    },
    "source": {
        "file": "cronos.sense.files:FileSource",
        "follow": "cronos.sense.files:FollowedSource",
        "stdin": "cronos.sense.files:StdinSource",
        "syslog-udp": "cronos.sense.listen:SyslogUdpSource",
        "syslog-tcp": "cronos.sense.listen:SyslogTcpSource",
        "interface": "cronos.sense.interface:InterfaceSource",
        "tap-feed": "cronos.sense.tap:TapFeedSource",
    },
    "detector": {
        "scan": "cronos.detect.scan:ScanDetector",
        "brute-force": "cronos.detect.bruteforce:BruteForceDetector",
        "first-seen": "cronos.detect.firstseen:FirstSeenDetector",
        "modbus-policy": "cronos.detect.modbus:ModbusPolicyDetector",
        "sigma": "cronos.detect.sigma:SigmaDetector",
    },
    "executor": {
        "recording": "cronos.respond.recording:RecordingExecutor",
        "nftables": "cronos.respond.nftables:NftablesExecutor",
        "tap": "cronos.respond.tap:TapExecutor",
        "workflow": "cronos.respond.workflow:WorkflowExecutor",
    },
    "service": {"forwarding-tap": "cronos.gateway.tap:Tap"},
    "workflow": {
        "command": "cronos.respond.hooks:CommandWorkflow",
        "webhook": "cronos.respond.hooks:WebhookWorkflow",
    },
    # What is no plug-in but is reached by name all the same: the rooms' own entries.
    "entry": {
        "parser": "cronos.sense.parser:Parser",
        "scorer": "cronos.detect.scorer:ScorerProcess",
        "ledger": "cronos.govern.serving:LedgerServer",
        "enforcer": "cronos.respond.serving:run",
        "enforcer-settings": "cronos.respond.guards:EnforcerConfig",
        "list-files": "cronos.sense.files:expand",
        "verify-ledger": "cronos.govern.verify:verify_file",
    },
    "ledger": {"sqlite": "cronos.govern.ledger:SqliteLedger"},
    "sealer": {"plaintext": "cronos.govern.sealer:PlaintextSealer"},
    "analyst": {"deterministic": "cronos.intel.deterministic:DeterministicAnalyst"},
}
