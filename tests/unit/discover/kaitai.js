// node kaitai.js MODULES SPECS.json < lines "spec kind hex": prints for each line what was read.
// Compiles each specification with Kaitai's own compiler, with debug on: it notes where fields are.
const path = require('path'), fs = require('fs');
const base = process.argv[2];
const C = require(path.join(base, 'kaitai-struct-compiler'));
const Stream = require(path.join(base, 'kaitai-struct', 'KaitaiStream.js'));
const specs = JSON.parse(fs.readFileSync(process.argv[3], 'utf8'));
const camel = s => s.split('_').map(w => w.charAt(0).toUpperCase() + w.slice(1)).join('');
(async () => {
  const compiler = typeof C === 'function' ? new C() : C;
  const roots = [];
  for (const spec of specs) {
    const none = { importYaml: () => Promise.reject('none') };
    const files = await compiler.compile('javascript', spec, none, true);
    const name = camel(spec.meta.id), mod = { exports: {} };
    new Function('module', 'exports', 'require', files[name + '.js'])(mod, mod.exports, () => Stream);
    roots.push(mod.exports[name] || mod.exports);
  }
  const walk = (o, out) => {
    if (!o || !o._debug) return;
    for (const key of Object.keys(o._debug)) {
      const d = o._debug[key];
      if (key.startsWith('_') || d.start === undefined) continue;
      const v = o[key];
      const one = (v, d) => {
        if (v && v._debug) walkLeaf(v, d, key, out);
        else out.push([key, d.start + d.ioOffset, d.end - d.start]);
      };
      if (d.arr && Array.isArray(v)) v.forEach((x, i) => one(x, Object.assign({ioOffset: d.ioOffset}, d.arr[i])));
      else one(v, d);
    }
  };
  const walkLeaf = (v, d, key, out) => {
    if (v.constructor.name === 'BerNumber' || v.constructor.name === 'Leb128Number') out.push([key, d.start + d.ioOffset, d.end - d.start]);
    else walk(v, out);
  };
  for (const line of fs.readFileSync(0, 'utf8').split('\n')) {
    if (!line) continue;
    const [spec, kind, hex] = line.split(' ');
    const Root = roots[+spec];
    let text = null;
    try {
      const io = new Stream(Uint8Array.from(Buffer.from(hex || '', 'hex')).buffer);
      const T = kind === 'root' ? Root : Root['Type' + kind];
      const o = new T(io, null, null); o._read();
      if (!io.isEof()) throw new Error('left over');
      const out = []; walk(o, out);
      text = { fields: out, kind: kind === 'root' ? o.kind : null };
    } catch (e) { text = { error: String(e).slice(0, 100) }; }
    console.log(JSON.stringify(text));
  }
})().catch(e => { console.error('COMPILE', e && e.message || e, e && e.s); process.exit(3); });
