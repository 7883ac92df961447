// Draws an explorable figure from the data that vaelite/book/explore.py packs (the format is there).
// A function of the figure's id, its data and the style sheet; explore.py appends the call.
(async (id, data, style) => {
  const INK = "#1a1a1a", AXIS = "#767676", GRID = "#e6e6e6", FONT = "13px system-ui, sans-serif";

  const element = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };

  // Unpacking: the real numbers of one quantity in one frame, or its image as a canvas.
  const compressed = Uint8Array.from(atob(data.bytes), (letter) => letter.charCodeAt(0));
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new DataView(await new Response(stream).arrayBuffer());
  const row = (table, frame) => (table.rows ? table.rows[frame] : 0);
  const reals = (table, frame) => Array.from({ length: table.length }, (_, i) => {
    const code = bytes.getUint16(table.offset + 2 * (row(table, frame) * table.length + i), true);
    return code === 65535 ? NaN : table.low + table.step * code;
  });
  const picture = (table, frame) => {
    const { offset, height, width, channels } = table, pixels = new ImageData(width, height);
    for (let i = 0; i < pixels.data.length; i++) {
      const pixel = row(table, frame) * height * width + (i >> 2), channel = i % 4 % channels;
      pixels.data[i] = i % 4 === 3 ? 255 : bytes.getUint8(offset + channels * pixel + channel);
    }
    const canvas = element("canvas", { width, height });
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  };

  // About `count` round numbers from low to high, each with its text.
  const ticks = ([low, high], count) => {
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
    const digits = Math.min(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), 20), found = [];
    for (let k = Math.ceil(low / step - 1e-9); k <= high / step + 1e-9; k++) {
      const text = Math.abs(k * step) < 1e6 ? (k * step).toFixed(digits) : (k * step).toPrecision(3);
      found.push([k * step, text.replace(/-/g, "\u2212")]);
    }
    return found;
  };

  // Draws one panel; returns the left and right end of its horizontal axis in CSS pixels.
  const draw = (canvas, panel, frame) => {
    const width = canvas.clientWidth, height = data.height, ratio = window.devicePixelRatio || 1;
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    Object.assign(pen, { font: FONT, fillStyle: "#fff", imageSmoothingEnabled: false });
    pen.fillRect(0, 0, width, height);
    const image = panel.image && picture(panel.image, frame);
    const size = (text) => pen.measureText(text).width;
    const line = (x0, y0, x1, y1) => {
      pen.beginPath();
      pen.moveTo(x0, y0);
      pen.lineTo(x1, y1);
      pen.stroke();
    };

    // The box of the axes: an image and equal aspect fix its shape.
    let { xlim, ylim } = panel, left = 0, right = width, top = 0, bottom = height, yTicks = [];
    if (panel.marks.length) {
      yTicks = ticks(ylim, height / 45);
      [top, bottom] = [panel.ylabel ? 27 : 8, height - (panel.xlabel ? 42 : 24)];
      [left, right] = [Math.ceil(Math.max(...yTicks.map(([, text]) => size(text)))) + 8, width - 8];
    } else [xlim, ylim] = [[0, image.width], [0, image.height]];
    const [dx, dy] = [xlim[1] - xlim[0], ylim[1] - ylim[0]];
    const unit = Math.min((right - left) / dx, (bottom - top) / dy);  // pixels, if equal
    const spare = [(right - left) / unit - dx, (bottom - top) / unit - dy].map((d) => d / 2);
    if (panel.equal_aspect && !image) {  // show more of the plane
      xlim = [xlim[0] - spare[0], xlim[1] + spare[0]];
      ylim = [ylim[0] - spare[1], ylim[1] + spare[1]];
      yTicks = ticks(ylim, height / 45);
    } else if (panel.equal_aspect || !panel.marks.length) {  // keep the image's limits
      [left, right] = [left + spare[0] * unit, right - spare[0] * unit];
      [top, bottom] = [top + spare[1] * unit, bottom - spare[1] * unit];
    }
    if (image) pen.drawImage(image, left, top, right - left, bottom - top);
    if (!panel.marks.length) return [left, right];
    const X = (x) => left + (x - xlim[0]) / (xlim[1] - xlim[0]) * (right - left);
    const Y = (y) => bottom - (y - ylim[0]) / (ylim[1] - ylim[0]) * (bottom - top);

    // Grid, ticks and labels; as many ticks as fit below each other and side by side.
    Object.assign(pen, { fillStyle: INK, strokeStyle: GRID, textBaseline: "middle", textAlign: "right" });
    for (const [y, text] of yTicks) {
      if (!image) line(left, Y(y), right, Y(y));
      pen.fillText(text, left - 6, Y(y));
    }
    Object.assign(pen, { textBaseline: "alphabetic", textAlign: "center" });
    let xTicks, count = 9;
    do xTicks = ticks(xlim, count);
    while (--count && xTicks.reduce((sum, [, text]) => sum + size(text) + 12, 0) > right - left);
    for (const [x, text] of xTicks) {
      if (!image) line(X(x), top, X(x), bottom);
      pen.fillText(text, Math.min(X(x), width - size(text) / 2), bottom + 17);
    }
    const middle = Math.min((left + right) / 2, width - size(panel.xlabel) / 2);
    pen.fillText(panel.xlabel, Math.max(middle, width / 2), bottom + 37, width);
    pen.textAlign = "left";
    pen.fillText(panel.ylabel, 0, top - 14, width);
    pen.strokeStyle = AXIS;
    line(left, bottom, right, bottom);
    line(left, top, left, bottom);

    pen.beginPath();
    pen.rect(left - 7, top - 7, right - left + 14, bottom - top + 14);  // a marker may overhang
    pen.clip();
    Object.assign(pen, { lineWidth: 2, lineJoin: "round" });
    for (const mark of panel.marks) {
      const x = reals(mark.x, frame).map(X), y = reals(mark.y, frame).map(Y);
      const there = x.map((_, i) => !Number.isNaN(x[i] + y[i]));
      const radius = { curve: 0, marker: 5.5, cloud: 2 }[mark.kind];
      pen.strokeStyle = pen.fillStyle = mark.colour;
      pen.setLineDash(mark.dashed ? [7, 5] : []);
      pen.beginPath();
      there.forEach((here, i) => {
        if (!here) return;
        if (!radius && there[i - 1]) pen.lineTo(x[i], y[i]);
        else pen.moveTo(x[i], y[i]);
        if (radius) pen.arc(x[i], y[i], radius, 0, 2 * Math.PI);
      });
      if (radius) pen.fill();
      else pen.stroke();
    }
    return [left, right];
  };

  // An input for one control: [its node, a function that makes it show a choice].
  const buttons = ({ label, texts }, name, choose) => {
    const radios = texts.map(() => element("input", { type: "radio", name }));
    radios.forEach((radio, index) => radio.addEventListener("change", () => choose(index)));
    const labels = radios.map((radio, index) => element("label", {}, radio, texts[index]));
    const node = element("fieldset", { class: "control" },
      element("legend", { class: "name" }, label), element("div", { class: "choices" }, ...labels));
    return [node, (index) => { radios[index].checked = true; }];
  };
  const slider = ({ label, texts }, name, choose) => {
    const range = element("input", { type: "range", name, min: 0, max: texts.length - 1 });
    const value = element("b", { "aria-hidden": "true" });
    range.addEventListener("input", () => choose(Number(range.value)));
    const node = element("label", { class: "control" },
      element("span", { class: "name" }, label, value), range);
    return [node, (index) => {
      range.value = index;
      range.setAttribute("aria-valuetext", value.textContent = texts[index]);
    }];
  };

  const build = (figure) => {
    const chosen = data.controls.map((control) => control.start);
    const choose = (number, index) => {
      chosen[number] = index;
      update();
    };
    const inputs = data.controls.map((control, number) => {
      const input = control.texts.length > 4 ? slider : buttons;
      return input(control, `control-${number}`, (index) => choose(number, index));
    });
    const form = element("form", {}, ...inputs.map(([node]) => node));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("keydown", (event) => event.stopPropagation());  // keep keys from JupyterLab
    form.setAttribute("data-lm-suppress-shortcuts", "true");

    const views = data.panels.map((panel, number) => {
      const title = panel.title || panel.ylabel || "continued";
      const name = number ? `Panel ${number + 1}: ${title}` : data.alt;
      const canvas = element("canvas", { role: "img", "aria-label": name });
      canvas.style.height = `${data.height}px`;
      const text = element("div", { class: "text", "aria-live": "polite" });
      const legend = panel.marks.filter((mark) => mark.label).map((mark) => {
        const swatch = element("i", { class: mark.dashed ? "curve dashed" : mark.kind });
        swatch.style.color = mark.colour;
        return element("span", {}, swatch, mark.label);
      });
      const box = element("div", { class: "panel" }, element("div", { class: "title" }, panel.title),
        element("div", { class: "legend" }, ...legend), canvas, text);
      let ends = [0, 1];
      const drag = (event) => {  // across the axis: turns the first control
        const part = (event.offsetX - ends[0]) / (ends[1] - ends[0]);
        const last = data.controls[0].texts.length - 1;
        const index = Math.min(Math.max(Math.round(part * last), 0), last);
        if (event.buttons && index !== chosen[0]) choose(0, index);
      };
      canvas.addEventListener("pointerdown", drag);
      canvas.addEventListener("pointermove", drag);
      return [box, (frame) => {
        ends = draw(canvas, panel, frame);
        text.textContent = panel.text[panel.text.length > 1 ? frame : 0];
      }];
    });
    const area = element("div", { class: "panels" }, ...views.map(([box]) => box));
    const update = () => {
      inputs.forEach(([, show], number) => show(chosen[number]));
      const frame = data.controls.reduce((sum, { texts }, i) => sum * texts.length + chosen[i], 0);
      views.forEach(([, show]) => show(frame));
    };
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
