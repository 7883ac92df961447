// Draws an explorable figure from the data that vaelite/explore.py packs (the format is there).
// A function of the figure's id, its data and the style sheet; explore.py appends the call.
(async (id, data, style) => {
  const INK = "#1a1a1a", AXIS = "#767676", GRID = "#e6e6e6", FONT = "13px system-ui, sans-serif";

  const element = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };

  // Unpack: real numbers of one quantity in one frame, or an image as RGBA pixels on a canvas.
  const compressed = Uint8Array.from(atob(data.bytes), (letter) => letter.charCodeAt(0));
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new DataView(await new Response(stream).arrayBuffer());
  const row = (table, frame) => (table.rows ? table.rows[frame] : 0);
  const reals = (table, frame) => Array.from({ length: table.length }, (_, i) => {
    const code = bytes.getUint16(table.offset + 2 * (row(table, frame) * table.length + i), true);
    return code === 65535 ? NaN : table.low + table.step * code;
  });
  const picture = ({ offset, height, width, channels, ...table }, frame) => {
    const canvas = element("canvas", { width, height });
    const pixels = new ImageData(width, height);
    const first = offset + row(table, frame) * height * width * channels;
    for (let i = 0; i < 4 * height * width; i++) {
      const pixel = first + channels * (i >> 2), channel = channels === 3 ? i % 4 : 0;
      pixels.data[i] = i % 4 === 3 ? 255 : bytes.getUint8(pixel + channel);
    }
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  };

  // About `count` round numbers between low and high, as [value, text].
  const ticks = ([low, high], count) => {
    const rough = (high - low) / Math.max(count, 1), power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
    const digits = Math.min(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), 12), found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
      const text = Math.abs(k * step) < 1e6 ? (k * step).toFixed(digits) : (k * step).toExponential(1);
      found.push([k * step, text.replace(/-/g, "\u2212")]);
    }
    return found;
  };

  // Draw one panel; returns the left and right edge of its axes in CSS pixels.
  const draw = (canvas, panel, frame) => {
    const width = canvas.clientWidth, height = data.height, ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, height);
    pen.font = FONT;
    pen.imageSmoothingEnabled = false;
    const image = panel.image && picture(panel.image, frame);
    if (!panel.marks.length) {
      const scale = Math.min(width / image.width, height / image.height);
      const [w, h] = [image.width * scale, image.height * scale];
      pen.drawImage(image, (width - w) / 2, (height - h) / 2, w, h);
      return [(width - w) / 2, (width + w) / 2];
    }

    const { xlim, ylim } = panel, yTicks = ticks(ylim, height / 55);
    let left = Math.ceil(Math.max(...yTicks.map(([, text]) => pen.measureText(text).width))) + 10;
    let right = width - 10, top = panel.ylabel ? 26 : 8, bottom = height - (panel.xlabel ? 42 : 24);
    if (panel.equal_aspect) {
      const [dx, dy] = [xlim[1] - xlim[0], ylim[1] - ylim[0]];
      const unit = Math.min((right - left) / dx, (bottom - top) / dy);
      const [spareX, spareY] = [right - left - unit * dx, bottom - top - unit * dy];
      [left, right, top, bottom] = [left + spareX / 2, right - spareX / 2, top + spareY / 2, bottom - spareY / 2];
    }
    const X = (x) => left + ((x - xlim[0]) / (xlim[1] - xlim[0])) * (right - left);
    const Y = (y) => bottom - ((y - ylim[0]) / (ylim[1] - ylim[0])) * (bottom - top);
    const line = (x0, y0, x1, y1) => {
      pen.beginPath();
      pen.moveTo(x0, y0);
      pen.lineTo(x1, y1);
      pen.stroke();
    };

    if (image) pen.drawImage(image, left, top, right - left, bottom - top);
    pen.fillStyle = INK;
    pen.strokeStyle = GRID;
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const [y, text] of yTicks) {
      if (!image) line(left, Y(y), right, Y(y));
      pen.fillText(text, left - 6, Y(y));
    }
    pen.textBaseline = "alphabetic";
    pen.textAlign = "center";
    for (const [x, text] of ticks(xlim, (right - left) / 65)) {
      if (!image) line(X(x), top, X(x), bottom);
      const half = pen.measureText(text).width / 2;
      pen.fillText(text, Math.min(X(x), width - half), bottom + 17);
    }
    pen.fillText(panel.xlabel, (left + right) / 2, bottom + 37);
    pen.textAlign = "left";
    pen.fillText(panel.ylabel, 0, top - 12);
    pen.strokeStyle = AXIS;
    line(left, bottom, right, bottom);
    line(left, top, left, bottom);

    pen.save();
    pen.beginPath();
    pen.rect(left - 6, top - 6, right - left + 12, bottom - top + 12);
    pen.clip();
    for (const mark of panel.marks) {
      const x = reals(mark.x, frame).map(X), y = reals(mark.y, frame).map(Y);
      pen.strokeStyle = pen.fillStyle = mark.colour;
      pen.lineWidth = 2;
      pen.lineJoin = "round";
      pen.setLineDash(mark.dashed ? [7, 5] : []);
      if (mark.kind === "curve") {
        pen.beginPath();
        let drawing = false;
        x.forEach((_, i) => {
          const here = !Number.isNaN(x[i] + y[i]);
          if (here) pen[drawing ? "lineTo" : "moveTo"](x[i], y[i]);
          drawing = here;
        });
        pen.stroke();
      } else {
        const radius = x.length <= 12 ? 5.5 : 2;
        x.forEach((_, i) => {
          if (Number.isNaN(x[i] + y[i])) return;
          pen.beginPath();
          pen.arc(x[i], y[i], radius, 0, 2 * Math.PI);
          pen.fill();
        });
      }
    }
    pen.restore();
    return [left, right];
  };

  const swatch = ({ kind, colour, dashed }) => kind === "curve"
    ? `<line x2="22" y1="5" y2="5" stroke="${colour}" stroke-width="2.5"${dashed ? ' stroke-dasharray="6 4"' : ""}/>`
    : `<circle cx="11" cy="5" r="4.5" fill="${colour}"/>`;

  const build = (figure) => {
    const chosen = data.controls.map((control) => control.start);
    const form = element("form", { "data-lm-suppress-shortcuts": "true" });
    form.addEventListener("submit", (event) => event.preventDefault());

    // One entry a control: show(index) makes its input say what is chosen.
    const inputs = data.controls.map((control, number) => {
      const choose = (index) => {
        chosen[number] = index;
        update();
      };
      if (control.texts.length <= 4) {
        const radios = control.texts.map((_, index) => {
          const radio = element("input", { type: "radio", name: `control-${number}`, value: index });
          radio.addEventListener("change", () => choose(index));
          return radio;
        });
        const labels = radios.map((radio, index) => element("label", {}, radio, control.texts[index]));
        form.append(element("fieldset", {}, element("legend", { class: "name" }, control.label),
          element("div", { class: "choices" }, ...labels)));
        return { choose, show: (index) => { radios[index].checked = true; } };
      }
      const range = element("input", { type: "range", min: 0, max: control.texts.length - 1, step: 1 });
      const value = element("b", { "aria-hidden": "true" });
      range.addEventListener("input", () => choose(Number(range.value)));
      form.append(element("label", { class: "slider" },
        element("span", { class: "name" }, control.label, value), range));
      return { choose, show: (index) => {
        range.value = index;
        range.setAttribute("aria-valuetext", value.textContent = control.texts[index]);
      } };
    });

    const panels = data.panels.map((panel, number) => {
      const name = number ? `Panel ${number + 1}: ${panel.title || panel.ylabel || "continued"}` : data.alt;
      const canvas = element("canvas", { role: "img", "aria-label": name });
      canvas.style.height = `${data.height}px`;
      const text = element("p", { class: "text", "aria-live": "polite" });
      const box = element("div", { class: "panel" });
      if (panel.title) box.append(element("div", { class: "title" }, panel.title));
      const labelled = panel.marks.filter((mark) => mark.label);
      if (labelled.length) box.append(element("div", { class: "legend" }, ...labelled.map((mark) => {
        const entry = element("span");
        entry.innerHTML = `<svg viewBox="0 0 22 10" aria-hidden="true">${swatch(mark)}</svg>`;
        entry.append(mark.label);
        return entry;
      })));
      box.append(canvas);
      if (panel.text.some(Boolean)) box.append(text);

      // Dragging across a panel turns the first control.
      let edges = [0, 1];
      const drag = (event) => {
        const part = (event.offsetX - edges[0]) / (edges[1] - edges[0]);
        const last = data.controls[0].texts.length - 1;
        const index = Math.min(Math.max(Math.round(part * last), 0), last);
        if (event.buttons && index !== chosen[0]) inputs[0].choose(index);
      };
      canvas.addEventListener("pointerdown", drag);
      canvas.addEventListener("pointermove", drag);
      return { box, draw: (frame) => {
        edges = draw(canvas, panel, frame);
        text.textContent = panel.text[panel.text.length > 1 ? frame : 0];
      } };
    });

    const update = () => {
      inputs.forEach((input, number) => input.show(chosen[number]));
      const frame = data.controls.reduce((sum, { texts }, i) => sum * texts.length + chosen[i], 0);
      panels.forEach((panel) => panel.draw(frame));
    };
    const area = element("div", { class: "panels" }, ...panels.map((panel) => panel.box));
    figure.querySelector("img").hidden = true;
    figure.append(form, area);
    new ResizeObserver(() => { if (area.clientWidth) update(); }).observe(area);
  };

  if (!document.getElementById("explore-style")) {
    document.head.append(element("style", { id: "explore-style" }, style));
  }
  for (const figure of document.querySelectorAll(`figure[data-explore="${id}"]`)) {
    if (!figure.explorable) build(figure);
    figure.explorable = true;
  }
})
