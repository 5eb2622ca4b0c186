// SPDX-License-Identifier: Apache-2.0
// Runs a module of firmware/wasm on int16 samples: node run.mjs MODULE SAMPLES. Prints JSON: what
// the module is, the columns and events of all samples, and the last window with its scores.
import { readFileSync } from "node:fs";

const [, , path, sound] = process.argv;
const module = new WebAssembly.Module(readFileSync(path));
const { memory, ...m3net } = new WebAssembly.Instance(module, {}).exports;
const bytes = (at, count) => Array.from(new Int8Array(memory.buffer, at, count));
const facts = { imports: WebAssembly.Module.imports(module), status: m3net.init() };
for (const name of ["hop_samples", "feature_bins", "frames", "class_count", "sample_rate_hz"]) {
  facts[name] = m3net[name]();
}

const data = readFileSync(sound);
const samples = new Int16Array(data.buffer, data.byteOffset, data.length / 2);
const columns = [];
const events = [];
const runs = [];
for (let at = 0; at + facts.hop_samples <= samples.length; at += facts.hop_samples) {
  const hop = new Int16Array(memory.buffer, m3net.samples(), facts.hop_samples);
  hop.set(samples.subarray(at, at + facts.hop_samples));
  m3net.amplify?.();
  const due = m3net.push();
  if (due & 1) columns.push(bytes(m3net.column(), facts.feature_bins));
  if (!(due & 2)) continue;
  if (m3net.run_newest() !== 0) throw new Error("the network failed");
  runs.push(bytes(m3net.scores(), facts.class_count));
  if (!m3net.detect()) continue;
  const view = new DataView(memory.buffer, m3net.event(), 8);
  events.push([view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true)]);
}
m3net.load();
const input = bytes(m3net.input(), facts.feature_bins * facts.frames);
m3net.run();
const scores = bytes(m3net.scores(), facts.class_count);
console.log(JSON.stringify({ ...facts, columns, runs, events, input, scores }));
