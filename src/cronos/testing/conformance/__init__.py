"""One suite for each port: what every inhabitant must do, to be run by whoever writes one.

Three words to know: a *suite* is a class of test methods, a *factory* is the method it asks you
to write, and `require` states a rule. Subclass a suite in a test module under a name that begins
with ``Test``, and pytest (or anything that calls ``test_`` methods) runs it::

    class TestMySensor(SensorConformance):
        def make(self) -> Sensor:
            return MySensor(MyConfig())

        def sample(self) -> bytes:
            return Path("sample.log").read_bytes()

Nothing here imports pytest. Each test makes what it needs anew; a suite that holds something open
between tests overrides ``setup_method`` and ``teardown_method`` as pytest defines them.
"""
