"use strict";
// Plays captured sounds and labels them, by keyboard or by pointer.
(() => {
  const { element, handlers, notice, send, starts } = livePage;
  const CLASS_KEYS = 9;
  const kinds = { near_miss: "near miss", event: "detection", microphone: "recording" };
  const at = (id) => document.getElementById(id);
  const list = at("sounds");
  const record = at("record");
  const player = new Audio();
  let labels = []; // of the classes, then the label of sounds that are none of them
  let facts = null;
  let rate_hz = 0;

  const selected = () => list.querySelector('[aria-selected="true"]');
  const number = (row) => Number(row.dataset.clip);
  const play = (row) => send({ type: "wav", clip: number(row) });
  const discard = (row) => send({ type: "discard", clip: number(row) });
  const say = (clips) => { at("saved").textContent = `${drawing.counted(clips, "clip")} saved.`; };

  function select(row, scroll = true) {
    if (!row) return;
    selected()?.setAttribute("aria-selected", "false");
    row.setAttribute("aria-selected", "true");
    list.setAttribute("aria-activedescendant", row.id);
    if (scroll) row.scrollIntoView({ block: "nearest" });
  }

  function label(row, name) {
    send({ type: "label", clip: number(row), label: name });
  }

  function button(words, name, action) {
    const made = element("button", words);
    made.type = "button";
    made.className = name;
    made.addEventListener("click", action);
    return made;
  }

  function makeRow(clip) {
    const row = element("li");
    row.id = `sound-${clip.clip}`;
    row.dataset.clip = clip.clip;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", "false");
    const choice = element("select", element("option", "no label"));
    choice.firstChild.value = "";
    choice.setAttribute("aria-label", "Label");
    labels.forEach((name, index) => {
      const key = name === facts.no_event ? "x" : index < CLASS_KEYS ? index + 1 : null;
      const words = name === facts.no_event ? "none of the classes" : name;
      const option = element("option", key === null ? words : `${key}: ${words}`);
      option.value = name;
      choice.append(option);
    });
    choice.addEventListener("change", () => { if (choice.value) label(row, choice.value); });
    const words = element("span", clip.words.replaceAll(" %", "\u00a0%"));
    words.className = "words";
    const kind = element("span", `${kinds[clip.kind]}${clip.detected === null ? "" : `: ${clip.detected}`}`);
    kind.className = "kind";
    row.append(button("Play", "play", () => { select(row); play(row); }),
      element("time", `${clip.time_s.toFixed(1)} s`), kind, words, choice, button("Discard", "discard", () => discard(row)));
    row.addEventListener("pointerdown", () => select(row));
    list.prepend(row);
    if (!selected()) select(row, false);
    while (list.children.length > facts.most) list.lastChild.remove();
    return row;
  }

  // After a sound has got its label: the next older one without, else a newer one.
  function advance(row) {
    const rows = [...list.children];
    const place = rows.indexOf(row);
    const order = [...rows.slice(place + 1), ...rows.slice(0, place).reverse()];
    select(order.find((one) => !one.classList.contains("labelled")));
  }

  handlers.sound = (clip) => {
    const row = at(`sound-${clip.clip}`) ?? makeRow(clip);
    row.querySelector("select").value = clip.label ?? "";
    row.classList.toggle("labelled", clip.label !== null);
    if (clip.clips === undefined) return;
    say(clip.clips);
    if (row === selected()) advance(row);
  };

  handlers.discarded = ({ clip, clips }) => {
    const row = at(`sound-${clip}`);
    if (row && row === selected()) select(row.nextElementSibling ?? row.previousElementSibling);
    row?.remove();
    say(clips);
  };

  handlers.wav = ({ wav }) => {
    URL.revokeObjectURL(player.src);
    const bytes = Uint8Array.from(atob(wav), (letter) => letter.charCodeAt(0));
    player.src = URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }));
    player.play().catch((error) => notice(`The sound cannot be played (${error.message}).`));
  };

  starts.push((message) => {
    facts = message.captures;
    at("labelling").hidden = !facts;
    if (!facts) return;
    rate_hz = message.frontend.rate_hz;
    const listed = drawing.listed(message.classes.map((one) => one.event));
    labels = [...listed.map((label) => message.labels[label]), facts.no_event];
    at("folder").textContent = facts.folder;
    at("no-board-sound").hidden = facts.board_sound;
    list.replaceChildren();
    facts.sounds.forEach(handlers.sound);
    say(facts.clips);
  });

  // Keys act on the selected sound, except while a slider or a menu has the focus.
  document.addEventListener("keydown", (event) => {
    const row = selected();
    if (!facts || !row || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest("input, select")) return;
    const inList = event.target === list;
    const index = Number(event.key) - 1;
    if (event.key === "x") label(row, facts.no_event);
    else if (index >= 0 && index < Math.min(CLASS_KEYS, labels.length - 1)) label(row, labels[index]);
    else if (event.key === "Delete") discard(row);
    else if (inList && event.key === "ArrowDown") select(row.nextElementSibling);
    else if (inList && event.key === "ArrowUp") select(row.previousElementSibling);
    else if (inList && event.key === " ") play(row);
    else return;
    event.preventDefault();
  });

  function base64(samples) {
    let text = "";
    const bytes = new Uint8Array(samples.buffer);
    for (let start = 0; start < bytes.length; start += 4096) {
      text += String.fromCharCode(...bytes.subarray(start, start + 4096));
    }
    return btoa(text);
  }

  record.addEventListener("click", async () => {
    const clip = new Int16Array(facts.samples);
    let filled = 0;
    record.disabled = true;
    record.textContent = "Recording …";
    try {
      await new Promise((finished, failed) => {
        let close = null;
        sound.microphone(rate_hz, (samples) => {
          if (filled === clip.length || !close) return;
          const part = samples.subarray(0, clip.length - filled);
          clip.set(part, filled);
          filled += part.length;
          if (filled < clip.length) return;
          close();
          finished();
        }).then((stop) => { close = stop; }, failed);
      });
      send({ type: "recording", samples: base64(clip) });
    } catch (error) {
      notice(`The microphone is not available (${error.message}): allow it in the browser.`);
    }
    record.disabled = false;
    record.textContent = "Record with the browser's microphone";
  });
})();
