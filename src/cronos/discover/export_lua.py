"""Writes a grammar down as a Wireshark dissector in Lua.

The dissector parses first and adds fields only when a message type fits; else it says so as an
expert item. It knows structure and strict values; evidence and checksums are the interpreter's.
It serves the port that is given, and can be chosen by "Decode As" for any other.

Source: Wireshark 4 Lua API (ProtoField, Tvb:raw, TreeItem:add); Lua 5.2.
"""

from typing import Final

from cronos.discover import ir
from cronos.discover.interpreter import MAX_CALLS, MAX_STEPS
from cronos.discover.model import Sem

_HEAD: Final = """-- A dissector of the protocol {name}, written by Cronos from its grammar.
local proto = Proto("cronos_{name}", "Cronos: {name}")
local PORT = {port}
local F, K = {{}}, {{}}
local misfit = {{}}

local function no() error(misfit, 0) end

-- numbers: exact up to 2^53; of 8 bytes only references and unions see the rounded value
local function be(d, p, n)
  local v = 0
  for i = p + 1, p + n do v = v * 256 + d:byte(i) end
  return v
end

local function le(d, p, n)
  local v = 0
  for i = p + n, p + 1, -1 do v = v * 256 + d:byte(i) end
  return v
end

local function bits(v, mask, shift)
  local out, bit = 0, 1
  mask, v = math.floor(mask / 2 ^ shift), math.floor(v / 2 ^ shift)
  while mask > 0 and v > 0 do
    if mask % 2 == 1 and v % 2 == 1 then out = out + bit end
    mask, v, bit = math.floor(mask / 2), math.floor(v / 2), bit * 2
  end
  return out
end

local function ber(d, p, e)
  if p >= e then no() end
  local n = d:byte(p + 1)
  if n < 128 then return n, p + 1 end
  n = n - 128
  if n < 1 or n > 4 or p + 1 + n > e then no() end
  return be(d, p + 1, n), p + 1 + n
end

local function leb128(d, p, e)
  local v, f = 0, 1
  for n = 0, math.min(9, e - p) - 1 do
    local b = d:byte(p + n + 1)
    v, f = v + b % 128 * f, f * 128
    if b < 128 then return v, p + n + 1 end
  end
  no()
end

local function find(d, s, p, e)
  local q = d:find(s, p + 1, true)
  if not q or q - 1 + #s > e then no() end
  return q - 1
end

local function put(o, name, p, n, v)
  if #o > {most} then no() end
  o[#o + 1] = {{name, p, n, v}}
end
"""

_BLOCKS: Final = """
-- data in blocks: how the numbers are read that a checksum may cut in two
local W = {}

-- the data of blocks in one piece; behind each stands a checksum, which is not looked at
local function unblock(d, p, e, size, width)
  local parts = {}
  while p < e do
    local q = math.min(p + size, e - width)
    if q <= p then no() end
    parts[#parts + 1] = d:sub(p + 1, q)
    p = q + width
  end
  return table.concat(parts)
end

local function number(d, name, p, n)
  if W[name] == "float" then
    return Struct.unpack((K[name] and "<" or ">") .. (n == 4 and "f" or "d"), d, p + 1)
  end
  if W[name] then return (K[name] and le or be)(d, p, n) end
end

-- fields of the data at their places in the message, the checksums among them
local function spread(o, inner, d, begin, e, size, width, sum)
  local mark = begin < e and math.min(begin + size, e - width) or e
  local function sums(p)
    while mark < p do
      put(o, sum, mark, width)
      mark = mark + width >= e and e or math.min(mark + width + size, e - width)
    end
  end
  for _, one in ipairs(inner) do
    local name, p, n, v = one[1], one[2], one[3], one[4]
    local cut = p % size + n > size
    if cut and v == nil then v = number(d, name, p, n) end
    repeat
      local k = math.min(n, size - p % size)
      local at = begin + p + math.floor(p / size) * width
      sums(at)
      put(o, name, at, k, v)
      o[#o][5] = cut and W[name]
      p, n = p + k, n - k
    until n == 0
  end
  sums(e)
end
"""

_TAIL: Final = """
local failed = ProtoExpert.new("cronos_{name}.misfit", "No message type fits",
  expert.group.MALFORMED, expert.severity.ERROR)
proto.experts = {{ failed }}

local function add(tree, buf, one)
  local name, p, n, v = one[1], one[2], one[3], one[4]
  if n == 0 then return end
  local field, range = F[name], buf(p, n)
  if one[5] == "uint" or one[5] == "float" then
    tree:add(field, range, v)
  elseif v then
    tree:add(field, range, UInt64.new(v % 2 ^ 32, math.floor(v / 2 ^ 32)))
  elseif K[name] then
    tree:add_le(field, range)
  else
    tree:add(field, range)
  end
end

function proto.dissector(buf, pinfo, root)
  pinfo.cols.protocol = "{label}"
  local tree = root:add(proto, buf())
  local d, direction = buf:raw(), ""
  if PORT > 0 and pinfo.dst_port == PORT then direction = "c2s"
  elseif PORT > 0 and pinfo.src_port == PORT then direction = "s2c" end
  for _, kind in ipairs(TYPES) do
    if kind[2] == "" or direction == "" or kind[2] == direction then
      local o = {{}}
      if pcall(kind[3], d, #d, o) then
        pinfo.cols.info = kind[1]
        tree:append_text(", " .. kind[1])
        for _, one in ipairs(o) do add(tree, buf, one) end
        return #d
      end
    end
  end
  tree:add_proto_expert_info(failed)
  return #d
end

for _, name in ipairs({{"udp.port", "tcp.port"}}) do
  local ports = DissectorTable.get(name)
  if PORT > 0 then ports:add(PORT, proto) else ports:add_for_decode_as(proto) end
end
"""


def render(grammar: ir.Grammar, port: int = 0) -> str:
    """Give the source; `port` is the server's, 0 leaves the choice to "Decode As".

    Raises:
        InputError: the grammar may not run.
    """
    ir.check(grammar)
    writer = _Writer()
    for name in grammar.rules:
        writer.lines.append(f"local rule_{name}")
    for name, body in grammar.rules.items():
        writer.function(f"rule_{name} = function(d, p, e, o, z)", body, rule=True)
    for index, kind in enumerate(grammar.types):
        writer.function(f"TYPES[{index + 1}][3] = function(d, e, o)", kind.body, rule=False)
    types = [f"  {{ {_quote(t.name)}, {_quote(t.direction)}, nil }}," for t in grammar.types]
    fields = [_field(grammar.name, leaf) for leaf in ir.leaves(grammar).values()]
    little = [
        f"K[{_quote(leaf.name)}] = true"
        for leaf in ir.leaves(grammar).values()
        if isinstance(leaf, ir.Number | ir.Checksum) and leaf.endian == "le"
    ]
    return "\n".join(
        [
            _HEAD.format(name=grammar.name, port=port, most=MAX_STEPS),
            *fields,
            "proto.fields = F",
            *little,
            *([_BLOCKS, *_cut(grammar)] if writer.blocks else []),
            "",
            "local TYPES = {",
            *types,
            "}",
            *writer.lines,
            _TAIL.format(name=grammar.name, label=grammar.name.upper()),
        ]
    )


def _cut(grammar: ir.Grammar) -> list[str]:
    """Say how the numbers are read that a checksum may cut in two."""
    out: list[str] = []
    for kind in grammar.types:
        for blocks in ir.walk(kind.body):
            for leaf in ir.walk(blocks) if isinstance(blocks, ir.Blocks) else ():
                if isinstance(leaf, ir.Number | ir.Checksum):
                    wide = "uint" if ir.width_of(leaf) <= 4 else "uint64"
                    real = isinstance(leaf, ir.Number) and leaf.sem is Sem.FLOAT
                    out.append(f'W[{_quote(leaf.name)}] = "{"float" if real else wide}"')
    return sorted(set(out))


def _quote(text: str) -> str:
    return f'"{text}"'


def _bytes(value: bytes) -> str:
    """Write bytes as a Lua string, all of them as decimal escapes."""
    return '"' + "".join([f"\\{byte:03}" for byte in value]) + '"'


def _field(protocol: str, leaf: ir.Leaf) -> str:
    kind, base = _kind(leaf)
    name = f"cronos_{protocol}.{leaf.name}"
    return f'F[{_quote(leaf.name)}] = ProtoField.{kind}("{name}", "{leaf.name}"{base})'


def _kind(leaf: ir.Leaf) -> tuple[str, str]:
    match leaf:
        case ir.Number() if leaf.sem is Sem.FLOAT:
            return ("float" if leaf.width == 4 else "double"), ""
        case ir.Number():
            bits = {1: 8, 2: 16, 3: 24, 4: 32}.get(leaf.width, 64)
            return f"uint{bits}", ", base.DEC"
        case ir.Checksum():
            return f"uint{8 * ir.width_of(leaf)}", ", base.HEX"
        case ir.Varint():
            return "uint64", ", base.DEC"
        case _:
            return "bytes", ""


class _Writer:
    """Writes nodes as statements; values that references need are in the table V."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.blocks = False
        self._indent = 1
        self._ends = ["e"]
        self._count = 0

    def function(self, head: str, body: ir.Node, *, rule: bool) -> None:
        """Write a function of a type or a rule; `z` is how deep rules are in rules."""
        self.lines += ["", head]
        self._say("local V, n, q = {}, 0, 0")
        if rule:
            self._say(f"if z > {MAX_CALLS} then no() end")
            self._node(body)
            self._say("return p")
        else:
            self._say("local p, z = 0, 0")
            self._node(body)
            self._say("if p ~= e then no() end")
        self.lines.append("end")

    def _say(self, text: str) -> None:
        self.lines.append("  " * self._indent + text)

    def _fresh(self, letter: str) -> str:
        self._count += 1
        return f'V["{letter}{self._count}."]'  # no name of a field has a dot

    def _node(self, node: ir.Node) -> None:  # noqa: C901 - one case for each kind of node
        match node:
            case ir.Seq():
                for one in node.items:
                    self._node(one)
            case ir.Sized():
                self._sized(node)
            case ir.Switch():
                self._switch(node)
            case ir.Repeat():
                self._repeat(node)
            case ir.Blocks():
                self._blocks(node)
            case ir.Maybe():
                self._block(f"if p < {self._ends[-1]} then", node.body)
            case ir.Call():
                self._say(f"p = rule_{node.rule}(d, p, {self._ends[-1]}, o, z + 1)")
            case _:
                self._leaf(node)

    def _block(self, head: str, body: ir.Node) -> None:
        self._say(head)
        self._indent += 1
        self._node(body)
        self._indent -= 1
        self._say("end")

    def _size(self, size: ir.Size) -> str:
        if size.of == "fixed":
            return str(size.constant)
        if size.of == "rest":
            rest = f"{self._ends[-1]} - p - {size.constant}"
            return f"math.min({size.most}, {rest})" if size.most else rest
        value = self._bits(size.ref, size.mask)
        return f"math.min({size.most or ir.MAX_SIZE}, {value} * {size.scale} + ({size.constant}))"

    def _bits(self, ref: str, mask: int) -> str:
        value = f"V[{_quote(ref)}]"
        return f"bits({value}, {mask}, {ir.shift_of(mask)})" if mask else value

    def _leaf(self, leaf: ir.Leaf) -> None:
        name, end = _quote(leaf.name), self._ends[-1]
        match leaf:
            case ir.Number() | ir.Checksum():
                width = ir.width_of(leaf)
                self._say(f"if p + {width} > {end} then no() end")
                if isinstance(leaf, ir.Number):
                    self._strict(leaf, width)
                    self._say(f"V[{name}] = {leaf.endian}(d, p, {width})")
                self._say(f"put(o, {name}, p, {width}) p = p + {width}")
            case ir.Varint():
                self._say(f"V[{name}], q = {leaf.form}(d, p, {end})")
                self._say(f"put(o, {name}, p, q - p, V[{name}]) p = q")
            case ir.Data():
                self._say(f"n = {self._size(leaf.size)}")
                self._say(f"if n < 0 or p + n > {end} then no() end")
                self._strict(leaf, 0)
                self._say(f"put(o, {name}, p, n) p = p + n")
            case ir.Until():
                extra = len(leaf.delimiter) if leaf.include else 0
                self._say(f"q = find(d, {_bytes(leaf.delimiter)}, p, {end}) + {extra}")
                self._say(f"put(o, {name}, p, q - p) p = q")

    def _strict(self, leaf: ir.Number | ir.Data, width: int) -> None:
        if not leaf.strict:
            return
        order: Final = "big" if isinstance(leaf, ir.Number) and leaf.endian == "be" else "little"
        values = [v if isinstance(v, bytes) else v.to_bytes(width, order) for v, _ in leaf.known]
        known = ", ".join([f"[{_bytes(value)}] = true" for value in values])
        length = str(width) if width else "n"
        self._say(f"if not ({{ {known} }})[d:sub(p + 1, p + {length})] then no() end")

    def _sized(self, node: ir.Sized) -> None:
        end = self._fresh("e")
        self._say(f"{end} = p + {self._size(node.size)}")
        self._say(f"if {end} < p or {end} > {self._ends[-1]} then no() end")
        self._ends.append(end)
        self._node(node.body)
        self._ends.pop()
        self._say(f"if p ~= {end} then no() end")

    def _blocks(self, node: ir.Blocks) -> None:
        """Read the data of blocks in one piece: another `d` and `o`, until their end."""
        self.blocks = True
        end, outer, inner = self._ends[-1], self._fresh("x"), self._fresh("e")
        how = f"{node.size}, {ir.width_of(node.checksum)}"
        self._say(f"{outer} = {{ d, o, p }}")
        self._say(f"d, o = unblock(d, p, {end}, {how}), {{}}")
        self._say(f"p, {inner} = 0, #d")
        self._ends.append(inner)
        self._node(node.body)
        self._ends.pop()
        self._say(f"if p ~= {inner} then no() end")
        name = _quote(node.checksum.name)
        self._say(f"spread({outer}[2], o, d, {outer}[3], {end}, {how}, {name})")
        self._say(f"d, o, p = {outer}[1], {outer}[2], {end}")

    def _switch(self, node: ir.Switch) -> None:
        tag = self._fresh("t")
        self._say(f"{tag} = {self._bits(node.ref, node.mask)}")
        word = "if"
        for case in node.cases:
            tests = " or ".join([f"{tag} == {value}" for value in case.values])
            self._say(f"{word} {tests} then")
            self._indent += 1
            self._node(case.body)
            self._indent -= 1
            word = "elseif"
        self._say("else")
        self._indent += 1
        if node.other is None:
            self._say("no()")
        else:
            self._node(node.other)
        self._indent -= 1
        self._say("end")

    def _repeat(self, node: ir.Repeat) -> None:
        end, begin = self._ends[-1], self._fresh("b")
        if node.count is not None:
            left = self._fresh("n")
            self._say(f"{left} = {self._size(node.count)}")
            self._say(f"if {left} < 0 or {left} > {end} - p then no() end")
            self._say(f"while {left} > 0 do")
            self._say(f"  {left} = {left} - 1")
        elif node.sentinel:
            mark, size = _bytes(node.sentinel), len(node.sentinel)
            self._say(f"while p + {size} > {end} or d:sub(p + 1, p + {size}) ~= {mark} do")
            self._say(f"  if p >= {end} then no() end")
        else:
            self._say(f"while p < {end} do")
        self._indent += 1
        self._say(f"{begin} = p")
        self._node(node.body)
        self._say(f"if p <= {begin} then no() end")
        self._indent -= 1
        self._say("end")
