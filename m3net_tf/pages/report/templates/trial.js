"use strict";
// Tries a network on sounds. The features, scores and events come from the WebAssembly module; this
// script brings it 16-bit samples and shows its results. A trial dispatches "heard" with them.
(() => {
  const { percent, counted } = drawing;
  const MOST_S = 60; // of a file
  const SHOWN_S = 10; // of the microphone
  const ROWS = 8; // classes in the table
  const CURVES = 4; // classes in the picture
  const PLAYABLE_BYTES = 20e6;
  const COLUMN = 1; // bits of push()
  const RUN = 2;

  const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const share = (score) => (score + 128) / 256;

  // The module with what it has heard since restart().
  class Recognizer {
    constructor({ memory, ...module }) {
      if (module.init() !== 0) throw new Error("the module fails its own check");
      this.memory = memory;
      this.module = module;
      for (const name of ["sample_rate_hz", "hop_samples", "frame_samples", "feature_bins",
        "frames", "class_count"]) {
        this[name] = module[name]();
      }
      this.restart();
    }

    restart() {
      this.module.reset();
      this.dropped = 0; // columns that are no longer kept
      this.columns = [];
      this.runs = [];
      this.events = [];
      this.last = null;
    }

    get count() { return this.dropped + this.columns.length; }

    seconds(columns) { return columns * this.hop_samples / this.sample_rate_hz; }

    bytes(address, count) { return new Int8Array(this.memory.buffer, address, count).slice(); }

    run() {
      if (this.module.run_newest() !== 0) throw new Error("the network fails");
      return { at: this.count - 1, scores: this.bytes(this.module.scores(), this.class_count) };
    }

    // Takes up to a hop of samples; missing ones are silence. Only a microphone has a gain.
    push(samples, microphone = false) {
      const { module } = this;
      const hop = new Int16Array(this.memory.buffer, module.samples(), this.hop_samples);
      hop.fill(0);
      hop.set(samples);
      if (microphone) module.amplify?.();
      const due = module.push();
      if (due & COLUMN) this.columns.push(this.bytes(module.column(), this.feature_bins));
      if (!(due & RUN)) return;
      this.last = this.run();
      this.runs.push(this.last);
      if (!module.detect()) return;
      const view = new DataView(this.memory.buffer, module.event(), 8);
      this.events.push({ column: view.getUint32(0, true), label: view.getUint16(4, true),
        score: view.getUint16(6, true) });
    }

    // Keeps the last columns, and the runs in them.
    keep(most) {
      const surplus = Math.max(0, this.columns.length - most);
      this.columns.splice(0, surplus);
      this.dropped += surplus;
      this.runs = this.runs.filter((run) => run.at >= this.dropped);
    }
  }

  // Samples of a mono WAV of 16 bits and this rate; null for any other file. Browsers decode WAV to
  // floats in different ways, and these samples must reach the module unchanged.
  function waveSamples(bytes, rate_hz) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const tag = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
    if (bytes.length < 12 || tag(0) !== "RIFF" || tag(8) !== "WAVE") return null;
    let fits = false;
    for (let at = 12; at + 8 <= bytes.length;) {
      const size = view.getUint32(at + 4, true);
      const start = at + 8;
      if (tag(at) === "fmt " && start + 16 <= bytes.length) {
        fits = view.getUint16(start, true) === 1 && view.getUint16(start + 2, true) === 1
          && view.getUint32(start + 4, true) === rate_hz && view.getUint16(start + 14, true) === 16;
      }
      if (tag(at) === "data") {
        if (!fits) return null;
        const count = Math.floor(Math.min(size, bytes.length - start) / 2);
        return Int16Array.from({ length: count }, (_, i) => view.getInt16(start + 2 * i, true));
      }
      at = start + size + size % 2;
    }
    return null;
  }

  // Samples of any file that the browser decodes, mixed to mono and resampled by the browser.
  async function decodedSamples(bytes, rate_hz) {
    const decoded = await new OfflineAudioContext(1, 1, rate_hz).decodeAudioData(bytes.slice().buffer);
    const context = new OfflineAudioContext(1, decoded.length, rate_hz);
    const source = new AudioBufferSourceNode(context, { buffer: decoded });
    source.connect(context.destination);
    source.start();
    return sound.toInt16((await context.startRendering()).getChannelData(0));
  }

  // A file as a data URI: the page's policy lets players load nothing else.
  function uriOf(file) {
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(file);
    });
  }

  function setUp(trial) {
    const facts = JSON.parse(trial.querySelector(".facts").textContent);
    const part = (name) => trial.querySelector(`.${name}`);
    const [state, result, microphone] = [part("state"), part("result"), part("microphone")];
    const player = trial.querySelector("audio");
    const file = trial.querySelector("input");
    const colours = facts.colours.map(drawing.rgb);
    let loading = null;
    let recognizer = null;
    let turn = 0; // a later sound ends an earlier one
    let stopListening = null;
    const listed = drawing.listed(facts.events);

    async function start() {
      loading ??= WebAssembly.instantiate(bytesOf(facts.module))
        .then(({ instance }) => { recognizer = new Recognizer(instance.exports); });
      await loading;
      recognizer.restart();
      for (const name of ["events", "scores"]) part(name).replaceChildren();
    }

    // Classes by their highest score, the highest first.
    function ranking() {
      const runs = [...recognizer.runs, ...(recognizer.last ? [recognizer.last] : [])];
      const highest = facts.labels.map((_, label) => Math.max(...runs.map((run) => run.scores[label])));
      const order = listed.toSorted((a, b) => highest[b] - highest[a]);
      return { runs, highest, order: runs.length ? order : [] };
    }

    function draw() {
      if (!recognizer || recognizer.columns.length === 0) return;
      const { dropped, columns, events } = recognizer;
      const { runs, highest, order } = ranking();
      const scene = {
        columns, dropped, colours, events, width: columns.length,
        samples: facts.samples_as_features,
        rows: facts.samples_as_features ? 128 : recognizer.feature_bins,
        runs: runs.map(({ at, scores }) => ({ at, shares: [...scores].map(share) })),
      };
      const shown = order.slice(0, CURVES);
      drawing.features(drawing.blank(part("features")), scene);
      const series = drawing.curves(drawing.blank(part("curves")), scene, shown, getComputedStyle(trial));
      part("start").textContent = `${recognizer.seconds(dropped).toFixed(1)} s`;
      part("end").textContent = `${recognizer.seconds(recognizer.count).toFixed(1)} s`;
      const named = shown.map((label) => `${facts.labels[label]} ${percent(share(highest[label]))}`);
      part("features").setAttribute("aria-label", `Feature map of ${columns.length} columns of `
        + `${recognizer.feature_bins} values, with ${counted(events.length, "event")}.`);
      part("curves").setAttribute("aria-label", `Highest scores: ${named.join(", ") || "none yet"}.`);
      const events_first = order.toSorted((a, b) => facts.events[b] - facts.events[a]);
      part("scores").replaceChildren(...events_first.slice(0, ROWS).map((label) =>
        row(label, highest[label], series[shown.indexOf(label)] ?? "transparent")));
    }

    function row(label, highest, colour) {
      const [line, name, now, peak] = ["tr", "th", "td", "td"].map((tag) => document.createElement(tag));
      const meter = document.createElement("meter");
      const score = share(recognizer.last.scores[label]);
      drawing.name(name, facts.labels[label], colour);
      meter.value = score;
      meter.setAttribute("aria-label", `Score of ${facts.labels[label]}`);
      now.append(meter, percent(score));
      peak.className = "figure";
      peak.textContent = percent(share(highest));
      line.append(name, now, peak);
      return line;
    }

    function listEvents() {
      const list = part("events");
      for (const { column, label, score } of recognizer.events.slice(list.children.length)) {
        const line = document.createElement("li");
        const end_s = recognizer.seconds(column) + recognizer.frame_samples / recognizer.sample_rate_hz;
        line.textContent = `${end_s.toFixed(2)} s: ${facts.labels[label]} (${percent(score / 65536)})`;
        list.append(line);
      }
    }

    async function hear(name, bytes, uri) {
      const own = turn += 1;
      stopListening?.();
      state.textContent = `Listening to ${name} …`;
      try {
        await start();
        const rate_hz = recognizer.sample_rate_hz;
        const all = waveSamples(bytes, rate_hz) ?? await decodedSamples(bytes, rate_hz);
        if (own !== turn) return;
        player.hidden = !uri;
        if (uri) player.src = uri;
        const samples = all.subarray(0, MOST_S * rate_hz);
        if (!await pushAll(samples, own)) return;
        finish(name, samples.length, all.length);
      } catch (error) {
        state.textContent = `${name} cannot be read (${error.message}): use a WAV file.`;
      }
    }

    // Returns false if another sound came meanwhile.
    async function pushAll(samples, own) {
      const { hop_samples, frame_samples, frames } = recognizer;
      const complete = Math.floor((samples.length - frame_samples) / hop_samples) + 1;
      let pause = performance.now() + 50;
      for (let at = 0; recognizer.count < Math.max(complete, frames); at += hop_samples) {
        recognizer.push(samples.subarray(at, at + hop_samples));
        if (performance.now() < pause) continue;
        await new Promise((resume) => { setTimeout(resume, 0); });
        if (own !== turn) return false;
        pause = performance.now() + 50;
      }
      return true;
    }

    function finish(name, count, all) {
      const { runs, events } = recognizer;
      const last = recognizer.last = recognizer.run();
      const best = last.scores.indexOf(Math.max(...last.scores));
      const needed = (recognizer.frames - 1) * recognizer.hop_samples + recognizer.frame_samples;
      const remarks = [
        count < all ? ` Only its first ${MOST_S} s were scored.` : "",
        count < needed ? " It is shorter than the network's window and was padded with silence." : "",
      ];
      state.textContent = `${name}: ${facts.labels[best]} ${percent(share(last.scores[best]))} in the `
        + `last window; ${counted(runs.length, "run")} of the detector, `
        + `${counted(events.length, "event")}.${remarks.join("")}`;
      result.hidden = false;
      listEvents();
      draw();
      trial.dispatchEvent(new CustomEvent("heard", { detail: {
        columns: recognizer.columns.map((column) => [...column]), scores: [...last.scores],
        runs: runs.map((run) => [...run.scores]),
        events: events.map(({ column, label, score }) => [column, label, score]) } }));
    }

    async function listen() {
      turn += 1;
      const own = turn;
      if (!navigator.mediaDevices) {
        state.textContent = "This browser gives the microphone only to secure pages: serve the "
          + "file's folder with python -m http.server and open it at http://localhost:8000.";
        return;
      }
      try {
        await start();
        const push = feeder();
        const close = await sound.microphone(recognizer.sample_rate_hz,
          (samples) => { if (own === turn) push(samples); });
        if (own !== turn) {
          close();
          return;
        }
        stopListening = () => {
          stopListening = null;
          close();
          microphone.setAttribute("aria-pressed", "false");
          microphone.textContent = "Use the microphone";
          state.textContent = "The microphone is off.";
        };
        microphone.setAttribute("aria-pressed", "true");
        microphone.textContent = "Stop the microphone";
        state.textContent = "Listening to the microphone.";
        player.hidden = true;
        result.hidden = false;
      } catch (error) {
        stopListening?.();
        state.textContent = `The microphone is not available (${error.message}): allow it in the `
          + "browser. Some browsers refuse it to files; then serve the file's folder with "
          + "python -m http.server and open it at http://localhost:8000.";
      }
    }

    // A function that takes samples of any number.
    function feeder() {
      const hop = new Int16Array(recognizer.hop_samples);
      let filled = 0;
      return (samples) => {
        for (const sample of samples) {
          hop[filled] = sample;
          filled += 1;
          if (filled < hop.length) continue;
          recognizer.push(hop, true);
          filled = 0;
        }
        recognizer.keep(Math.ceil(SHOWN_S * recognizer.sample_rate_hz / hop.length));
        listEvents();
        requestAnimationFrame(draw);
      };
    }

    async function hearFile(chosen) {
      try {
        const bytes = new Uint8Array(await chosen.arrayBuffer());
        await hear(chosen.name, bytes, chosen.size <= PLAYABLE_BYTES ? await uriOf(chosen) : "");
      } catch (error) {
        state.textContent = `${chosen.name} cannot be read (${error.message}).`;
      }
    }

    part("clips")?.addEventListener("change", ({ target }) => {
      if (target.value === "") return;
      const [words, uri] = facts.clips[target.value];
      hear(words, bytesOf(uri.slice(uri.indexOf(",") + 1)), uri);
    });
    file.addEventListener("change", () => { if (file.files.length) hearFile(file.files[0]); });
    microphone.addEventListener("click", () => { if (stopListening) stopListening(); else listen(); });
    trial.addEventListener("dragover", () => trial.classList.add("dropping"));
    trial.addEventListener("dragleave", () => trial.classList.remove("dropping"));
    trial.addEventListener("drop", ({ dataTransfer }) => {
      trial.classList.remove("dropping");
      if (dataTransfer.files.length) hearFile(dataTransfer.files[0]);
    });
    new ResizeObserver(draw).observe(part("over-time"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  // A file that is dropped beside a trial must not replace the page.
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => event.preventDefault());
  }
  document.querySelectorAll(".trial").forEach(setUp);
})();
