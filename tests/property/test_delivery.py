"""Any order of posts, partitions, kills, power cuts and healings: nothing acknowledged is lost."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.mesh.mail import SECOND, bulletin, federation, until

from cronos.errors import CronosError

NAMES = ("one", "two", "three")
NODE = st.sampled_from(NAMES)
STEPS = st.one_of(
    st.tuples(st.just("say"), NODE),
    st.tuples(st.just("say"), NODE),
    st.tuples(st.just("kill"), NODE),
    st.tuples(st.just("start"), NODE),
    st.tuples(st.just("apart"), NODE),
    st.tuples(st.just("heal"), NODE),
    st.tuples(st.just("lose"), NODE),
    st.tuples(st.just("wait"), NODE),
    st.tuples(st.just("blink"), NODE),
)


class World:
    """Three nodes, and what each of them was told that it had posted."""

    def __init__(self, nodes):
        self.nodes = {node.name: node for node in nodes}
        self.up = set(NAMES)
        self.posted = 0
        self.acknowledged = {name: set() for name in NAMES}
        self.lives = {name: [] for name in NAMES}
        self.positions = {name: [] for name in NAMES}

    async def step(self, what, name):
        await getattr(self, what)(self.nodes[name])
        await asyncio.sleep(0)

    async def say(self, node):
        if node.name in self.up:
            self.posted += 1
            node.tasks.spawn(self.post(node, self.posted), "post")

    async def kill(self, node):
        if node.name in self.up:
            self.up.discard(node.name)
            self.remember(node)
            await node.vanish()

    async def start(self, node):
        if node.name not in self.up:
            self.up.add(node.name)
            await node.start()

    async def apart(self, node):
        node.network.partition(frozenset({node.name}), frozenset(NAMES) - {node.name})

    async def heal(self, node):
        await node.network.heal()

    async def lose(self, node):
        node.network.lose += 1

    async def wait(self, node):
        await asyncio.sleep(0.003)

    async def blink(self, node):
        node.clock.advance(3 * SECOND)
        for one in self.up:
            self.nodes[one].delivery.tick()

    async def post(self, node, number):
        message = bulletin(node.name, number, incarnation=node.incarnation)
        try:
            position = await node.delivery.post(message)
        except CronosError:
            return
        self.acknowledged[node.name].add(message.bulletin_id)
        self.positions[node.name].append(position)

    def remember(self, node):
        self.lives[node.name].append(node.bulletins())
        node.heard.clear()

    def heard(self, name):
        before = {one for life in self.lives[name] for one in life}
        return before | set(self.nodes[name].bulletins())

    def complete(self):
        return all(
            self.acknowledged[sender] <= self.heard(name)
            for sender in NAMES
            for name in NAMES
            if name != sender
        )


async def story(folder, steps):
    nodes = await federation(folder, *NAMES)
    world = World(nodes)
    for what, name in steps:
        await world.step(what, name)
    await nodes[0].network.heal()
    for name in sorted(set(NAMES) - world.up):
        await world.step("start", name)
    await until(lambda: not world.nodes["one"].tasks.errors)
    for _ in range(20):
        nodes[0].clock.advance(3 * SECOND)
        for node in nodes:
            node.delivery.tick()
        await asyncio.sleep(0.01)
        if world.complete():
            break
    assert world.complete()
    for node in nodes:
        world.remember(node)
        for life in world.lives[node.name]:
            assert len(life) == len(set(life))
        positions = world.positions[node.name]
        assert len(positions) == len(set(positions))
        assert not {code for _, code in node.reports} - {"mesh.unsigned"}
        await node.stop()


@settings(deadline=None, max_examples=25)
@given(st.lists(STEPS, min_size=5, max_size=40))
def test_whatever_happens_everything_acknowledged_reaches_everybody_once(steps):
    folder = Path(tempfile.mkdtemp())
    try:
        asyncio.run(story(folder, steps))
    finally:
        shutil.rmtree(folder)
