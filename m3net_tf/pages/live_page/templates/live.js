"use strict";
// Shows a board's stream, which comes over a WebSocket, and sends it thresholds. Names of classes
// and texts of the server reach the page as text only. Other scripts add handlers of messages, and
// functions that are called with the first one.
const livePage = (() => {
  const { percent } = drawing;
  const CURVES = 4; // classes in the picture
  const OTHERS = 8; // classes without detections: of more, only those in the picture are shown
  const LISTED = 50; // detections and near misses
  const SEND_EVERY_MS = 120; // while a slider moves
  const RECONNECT_MS = 2000;
  const GUTTER = 58; // CSS pixels left of the pictures, for their axes
  const AXIS = 20; // and below the map

  const at = (id) => document.getElementById(id);
  const live = at("live");
  const map = live.querySelector(".features");
  const plot = live.querySelector(".curves");
  const colours = JSON.parse(at("colours").textContent).map(drawing.rgb);
  const states = { filling: "the window fills", quiet: "quiet: too faint for the network to run",
    listening: "listening" };
  let board = null; // the first message, with columns, runs, events and near misses so far
  let rows = [];
  let socket = null;
  let ended = false;
  let drawn = true;

  const element = (tag, ...content) => {
    const made = document.createElement(tag);
    made.append(...content);
    return made;
  };
  const seconds = (column) => (column * board.frontend.hop_samples + board.frontend.frame_samples)
    / board.frontend.rate_hz;
  const int8 = (hex) => Int8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const send = (request) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(request));

  function notice(text, error = true) {
    at("notice").hidden = !text;
    at("notice").textContent = text;
    at("notice").classList.toggle("caution", error);
  }

  // --- classes -------------------------------------------------------------------------------

  function classRow(settings) {
    const { label } = settings;
    const [line, name, now, cell] = ["tr", "th", "td", "td"].map((tag) => element(tag));
    const [meter, score, slider, value] = ["meter", "output", "input", "output"].map((tag) => element(tag));
    meter.setAttribute("aria-label", `Score of ${board.labels[label]}`);
    Object.assign(slider, { type: "range", min: 1, max: 100, step: 0.5 });
    slider.setAttribute("aria-label", `Threshold of ${board.labels[label]}`);
    let timer = null;
    const change = () => {
      timer = null;
      send({ type: "threshold", label, value: Number(slider.value) / 100 });
    };
    slider.addEventListener("input", () => {
      value.textContent = percent(Number(slider.value) / 100);
      timer ??= setTimeout(change, SEND_EVERY_MS);
    });
    drawing.name(name, board.labels[label], "transparent");
    now.append(meter, " ", score);
    cell.append(...(settings.event ? [slider, " ", value] : ["no detections"]));
    line.append(name, now, cell);
    return { line, name, meter, score, slider, value, busy: () => timer !== null };
  }

  function setThreshold(settings) {
    board.classes[settings.label] = settings;
    const row = rows[settings.label];
    row.value.dataset.board = (100 * settings.threshold).toFixed(1);
    if (row.busy()) return; // the next request is on its way
    row.slider.value = 100 * settings.threshold;
    row.value.textContent = percent(settings.threshold);
  }

  // Whether the board has saved thresholds; null: it has no flash for them.
  function showSaved(saved) {
    at("save").hidden = saved === null;
    at("forget").hidden = !saved;
    at("saved-thresholds").textContent = saved === null
      ? "This board has no flash for thresholds: write them to detector.yaml of the run, and export again."
      : saved ? "The board starts with saved thresholds." : "No thresholds are saved on the board.";
  }

  function showScores(order, series) {
    const means = board.runs.at(-1)?.means;
    rows.forEach((row, label) => {
      const place = order.indexOf(label);
      const share = means ? means[label] : 0;
      drawing.name(row.name, board.labels[label], place < 0 ? "transparent" : series[place]);
      row.meter.value = share;
      row.score.textContent = percent(share);
      const { event, threshold } = board.classes[label];
      row.line.classList.toggle("hit", event && share >= threshold);
      row.line.hidden = !event && place < 0 && board.classes.filter((one) => !one.event).length > OTHERS;
    });
  }

  // --- pictures ------------------------------------------------------------------------------

  function tick(context, words, x, y, align, baseline) {
    context.textAlign = align;
    context.textBaseline = baseline;
    context.fillText(words, x, y);
  }

  const hertz = (hz) => (hz >= 1000 ? `${(hz / 1000).toFixed(1)} kHz` : `${Math.round(hz)} Hz`);

  function axes(context, box, style, ratio) {
    context.fillStyle = style.getPropertyValue("--dim");
    context.font = `${11 * ratio}px ${style.fontFamily}`;
    const bins = board.frontend.bins;
    const marks = 5;
    for (let mark = 0; mark < marks && !board.samples; mark += 1) {
      const bin = Math.round(mark * (bins - 1) / (marks - 1));
      const y = box.y + box.height * (1 - (bin + 0.5) / bins);
      const inside = Math.min(Math.max(y, box.y + 6 * ratio), box.y + box.height - 6 * ratio);
      tick(context, board.hz ? hertz(board.hz[bin]) : `bin ${bin}`, box.x - 5 * ratio, inside, "right", "middle");
    }
    const column_s = board.frontend.hop_samples / board.frontend.rate_hz;
    const [first_s, shown_s] = [seconds(board.dropped), board.shown_columns * column_s];
    const step_s = [1, 2, 5, 10].find((step) => box.width / ratio * step / shown_s >= 44) ?? 20;
    const y = box.y + box.height + 4 * ratio;
    for (let time = Math.ceil(first_s / step_s) * step_s; time < first_s + shown_s; time += step_s) {
      const x = box.x + (time - first_s) / shown_s * box.width;
      context.fillRect(x, box.y + box.height, ratio, 3 * ratio);
      const near = x > box.x + box.width - 14 * ratio;
      tick(context, `${time} s`, near ? box.x + box.width : x, y, near ? "right" : "center", "top");
    }
  }

  function draw() {
    drawn = true;
    if (!board || map.clientWidth === 0) return;
    const ratio = devicePixelRatio;
    const style = getComputedStyle(live);
    const scene = {
      colours, columns: board.columns, dropped: board.dropped, width: board.shown_columns,
      samples: board.samples, rows: board.samples ? 128 : board.frontend.bins, events: board.events,
      runs: board.runs.map((run) => ({ at: run.at, shares: run.means })),
    };
    const highest = board.labels.map((_, label) => Math.max(0, ...board.runs.map((run) => run.means[label])));
    const order = board.listed.toSorted((a, b) => highest[b] - highest[a]).slice(0, CURVES);
    const top = drawing.blank(map);
    const box = { x: GUTTER * ratio, y: 0, width: top.canvas.width - GUTTER * ratio,
      height: top.canvas.height - AXIS * ratio };
    drawing.features(top, scene, box);
    axes(top, box, style, ratio);
    const low = drawing.blank(plot);
    const lower = { ...box, height: low.canvas.height };
    const series = drawing.curves(low, scene, order, style, lower);
    low.fillStyle = style.getPropertyValue("--dim");
    low.font = `${11 * ratio}px ${style.fontFamily}`;
    for (const [words, share, baseline] of [["100 %", 1, "top"], ["50 %", 0.5, "middle"], ["0 %", 0, "bottom"]]) {
      tick(low, words, lower.x - 5 * ratio, lower.height * (1 - share), "right", baseline);
    }
    const named = order.map((label) => `${board.labels[label]} ${percent(highest[label])}`);
    map.setAttribute("aria-label", `Feature map until ${seconds(board.count - 1).toFixed(1)} s.`);
    plot.setAttribute("aria-label", `Highest scores: ${named.join(", ")}.`);
    showScores(order, series);
  }

  function redraw() {
    if (!drawn) return;
    drawn = false;
    requestAnimationFrame(draw);
  }

  // --- lists ---------------------------------------------------------------------------------

  function list(id, entries, cells) {
    const body = at(id);
    for (const entry of entries) {
      const line = element("tr", element("td", `${entry.time_s.toFixed(2)} s`));
      const name = element("th", board.labels[entry.label].replaceAll("_", "_\u200b")); // may break there
      name.scope = "row";
      line.append(name, ...cells(entry));
      body.prepend(line);
    }
    while (body.children.length > LISTED) body.lastChild.remove();
  }

  function figure(words) {
    const cell = element("td", words);
    cell.className = "figure";
    return cell;
  }

  const listEvents = (events) => list("events", events, (event) =>
    [figure(percent(event.score)), figure(`${event.latency_ms.toFixed(1)} ms`)]);
  const listNearMisses = (misses) => list("near-misses", misses, (miss) => {
    const reason = element("td", miss.words.replaceAll(" %", "\u00a0%"));
    reason.dataset.reason = miss.reason;
    return [figure(percent(miss.score)), reason];
  });

  // --- messages ------------------------------------------------------------------------------

  // Columns that were lost on the line become silence, so that time stays right.
  function addColumns(columns) {
    for (const [number, hex] of columns) {
      if (board.columns.length === 0) board.dropped = number;
      while (board.dropped + board.columns.length < number) {
        board.columns.push(new Int8Array(board.frontend.bins).fill(-128));
      }
      board.columns.push(int8(hex));
    }
    const surplus = Math.max(0, board.columns.length - board.shown_columns);
    board.columns.splice(0, surplus);
    board.dropped += surplus;
    board.count = board.dropped + board.columns.length;
    for (const kind of ["runs", "events"]) {
      board[kind] = board[kind].filter((one) => (one.at ?? one.column) >= board.dropped);
    }
  }

  function hello(message) {
    notice("");
    board = { ...message, columns: [], dropped: 0, count: 0 };
    board.listed = drawing.listed(board.classes.map((one) => one.event));
    at("speed").textContent = board.speed;
    for (const id of ["cpu", "longest", "delay"]) {
      at(id).previousElementSibling.dataset.clock = board.emulated ? "emulator" : "board";
    }
    at("model").textContent = `${board.model}, ${board.labels.length} classes, ${board.frontend.rate_hz} Hz.`;
    rows = board.classes.map(classRow);
    at("classes").replaceChildren(...board.listed.map((label) => rows[label].line));
    board.classes.forEach(setThreshold);
    showSaved(message.saved);
    for (const id of ["events", "near-misses"]) at(id).replaceChildren();
    listEvents(message.events);
    listNearMisses(message.near_misses);
    addColumns(message.columns);
    statistics(message.statistics);
    for (const start of starts) start(message);
  }

  function news(message) {
    board.runs.push(...message.runs);
    board.events.push(...message.events);
    addColumns(message.columns);
    listEvents(message.events);
    listNearMisses(message.near_misses);
    const damaged = message.damaged_lines ? `, ${drawing.counted(message.damaged_lines, "line")} damaged` : "";
    at("state").textContent = `${states[message.state]}${damaged}`;
    at("level").textContent = message.warning || message.level || "–";
    at("level").classList.toggle("lost", message.warning !== "");
  }

  function statistics(numbers) {
    const shown = (id, value, words) => { at(id).textContent = value === undefined || value === null ? "–" : words; };
    const ms = (us) => `${(us / 1000).toFixed(1)} ms`;
    const overruns = numbers.lost_hops + numbers.audio_overruns + numbers.uart_overruns;
    shown("cpu", numbers.awake_ppm, `${(numbers.awake_ppm / 1e4).toFixed(1)} %`);
    shown("overruns", numbers.lost_hops, `${overruns}`);
    at("overruns").classList.toggle("lost", overruns > 0);
    at("overruns").title = `${numbers.lost_hops} hops lost, ${numbers.audio_overruns} overruns of the microphone, `
      + `${numbers.uart_overruns} of the serial line`;
    shown("detections", numbers.events, `${numbers.events}`);
    shown("runs", numbers.runs, `${numbers.runs}`);
    shown("longest", numbers.max_run_us, ms(numbers.max_run_us));
    shown("delay", numbers.latency_us, numbers.events ? ms(numbers.latency_us) : "–");
  }

  const starts = [];
  const handlers = {
    hello, news, statistics,
    threshold: setThreshold,
    saved: ({ saved }) => showSaved(saved),
    notice: ({ text, error }) => notice(text, error),
    ended: ({ text }) => {
      ended = true;
      at("state").textContent = "ended";
      notice(text);
    },
  };

  function connect() {
    socket = new WebSocket(`ws://${location.host}${location.pathname}live`);
    socket.addEventListener("message", ({ data }) => {
      const { type, ...message } = JSON.parse(data);
      handlers[type](message);
      redraw();
    });
    socket.addEventListener("close", () => {
      if (ended) return;
      notice("The server has ended, or the connection broke; trying again.");
      setTimeout(connect, RECONNECT_MS);
    });
  }

  at("reset").addEventListener("click", () => send({ type: "reset" }));
  for (const type of ["save", "forget"]) at(type).addEventListener("click", () => send({ type }));
  new ResizeObserver(redraw).observe(live);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.addEventListener("DOMContentLoaded", connect);
  return { element, handlers, notice, send, starts };
})();
