"use strict";
// Draws features and scores over time. A scene has:
//   columns   features of consecutive columns, each an Int8Array
//   dropped   number of columns before the first of them
//   width     number of columns that fill the picture
//   rows      height of the map in pixels
//   colours   [red, green, blue] of the features from -128 to 127
//   samples   whether a column's features are samples, which are drawn as a bar
//   runs      [{ at, shares }]: column of a run of the network, and scores from 0 to 1
//   events    [{ column, label, score }]
// A box is the part of a canvas that is drawn into: { x, y, width, height } in its pixels.
const drawing = (() => {
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  // Indices of classes: first those that make events.
  const listed = (events) => [...events.keys()].sort((a, b) => events[b] - events[a] || a - b);
  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  // The context of a canvas, blank and with a pixel for each one of the screen.
  function blank(canvas) {
    canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
    return canvas.getContext("2d");
  }

  const whole = ({ canvas }) => ({ x: 0, y: 0, width: canvas.width, height: canvas.height });

  const place = (scene, column, box) =>
    box.x + (column - scene.dropped + 0.5) / scene.width * box.width;

  const height = (share, box) => box.y + box.height * (0.985 - 0.97 * share);

  function picture({ columns, rows, colours, samples }) {
    const map = new ImageData(columns.length, rows);
    map.data.fill(255); // opaque
    columns.forEach((column, x) => {
      const [low, high] = samples ? [Math.min(...column), Math.max(...column)] : [];
      for (let row = 0; row < rows; row += 1) {
        const level = 2 * row - 128; // of samples: a bar from the lowest to the highest
        const value = !samples ? column[row] : level >= low - 1 && level <= high ? 127 : -128;
        map.data.set(colours[value + 128], 4 * ((rows - 1 - row) * columns.length + x));
      }
    });
    const canvas = new OffscreenCanvas(columns.length, rows);
    canvas.getContext("2d").putImageData(map, 0, 0);
    return canvas;
  }

  function lines(context, scene, places, box, colour) {
    context.fillStyle = colour;
    for (const { column } of places.filter((one) => one.column >= scene.dropped)) {
      context.fillRect(place(scene, column, box) - 1, box.y, 2, box.height);
    }
  }

  // The map of features, with a vertical line at each event.
  function features(context, scene, box = whole(context)) {
    if (scene.columns.length === 0) return;
    context.imageSmoothingEnabled = false;
    const share = scene.columns.length / scene.width;
    context.drawImage(picture(scene), box.x, box.y, share * box.width, box.height);
    lines(context, scene, scene.events, box, "#ffffff");
  }

  // Curves of the scores of some classes, in the page's series of colours.
  function curves(context, scene, labels, style, box = whole(context)) {
    const series = style.getPropertyValue("--series").trim().split(" ");
    context.fillStyle = style.getPropertyValue("--line");
    for (const share of [0, 0.5, 1]) context.fillRect(box.x, height(share, box), box.width, 1);
    lines(context, scene, scene.events, box, style.getPropertyValue("--dim"));
    context.lineWidth = 2 * devicePixelRatio;
    labels.forEach((label, index) => {
      const points = scene.runs.map(({ at, shares }) => [place(scene, at, box), height(shares[label], box)]);
      context.strokeStyle = context.fillStyle = series[index];
      context.beginPath();
      for (const point of points) context.lineTo(...point);
      context.stroke();
      for (const [x, y] of points.length < 40 ? points : []) {
        context.beginPath();
        context.arc(x, y, 3 * devicePixelRatio, 0, 7);
        context.fill();
      }
    });
    return series;
  }

  // Fills a cell with a class's name after a patch of its colour.
  function name(cell, words, colour) {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = colour;
    cell.scope = "row";
    cell.replaceChildren(swatch, words);
  }

  return { percent, counted, listed, rgb, blank, features, curves, name };
})();
