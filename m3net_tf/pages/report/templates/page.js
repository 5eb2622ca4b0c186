"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const sounds = new Map();
  const player = new Audio();
  const status = document.getElementById("playing");

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const palette = colour("--series").split(" ");
    const words = { labelColor: colour("--text"), titleColor: colour("--dim"), titleFontWeight: 400 };
    return {
      background: "transparent",
      font: "system-ui, sans-serif",
      view: { stroke: null },
      axis: { ...words, gridColor: colour("--line"), domainColor: colour("--line"),
        tickColor: colour("--line"), labelFontSize: 11, titleFontSize: 12 },
      legend: { ...words, labelFontSize: 12 },
      range: { category: palette },
      bar: { color: palette[0] },
      line: { color: palette[0] },
      point: { color: palette[0] },
      rect: { color: palette[0] },
      style: {
        faint: { color: colour("--text") },
        strong: { color: dark.matches ? "#000000" : "#ffffff" },
      },
    };
  }

  function play(key, words) {
    player.src = sounds.get(key);
    status.textContent = `Playing ${words}`;
    player.play().catch(() => { status.textContent = `${words} cannot be played here`; });
  }

  async function draw(figure) {
    const spec = JSON.parse(figure.querySelector(".spec").textContent);
    const place = figure.querySelector(".chart");
    spec.description = place.dataset.text;
    const { view } = await vegaEmbed(place, spec, {
      actions: false, ast: true, config: theme(), renderer: "svg",
      tooltip: { theme: dark.matches ? "dark" : "light" },
    });
    if (figure.classList.contains("plays")) {
      view.addEventListener("click", (event, item) => {
        if (item && item.datum && sounds.has(item.datum.sound)) {
          play(item.datum.sound, `${item.datum.label}: ${item.datum.clip}`);
        }
      });
    }
  }

  async function drawAll() {
    const figures = [...document.querySelectorAll("figure:has(.spec)")];
    await Promise.all(figures.map(draw));
    document.documentElement.dataset.drawn = dark.matches ? "dark" : "light";
  }

  for (const list of document.querySelectorAll(".playlist")) {
    const uris = JSON.parse(list.querySelector(".sounds").textContent);
    Object.entries(uris).forEach(([key, uri]) => sounds.set(key, uri));
    const choice = list.querySelector("select");
    list.querySelector("button").addEventListener("click", () => {
      play(choice.value, choice.selectedOptions[0].textContent);
    });
  }
  player.addEventListener("ended", () => { status.textContent = ""; });
  dark.addEventListener("change", drawAll);
  drawAll();
})();
