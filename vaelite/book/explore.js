// Draws an explorable figure from the data that vaelite/book/explore.py packs (the format is there).
// A function of the figure's id, its data, the style sheet and, for a live figure, of live.js;
// explore.py appends the call.
(async (id, data, style, compute) => {
  const PHONE = 480, TALLEST = 636, FONT = "system-ui, sans-serif";

  const element = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
  const inflated = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  const stream = new Blob([inflated(data.bytes)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new DataView(await new Response(stream).arrayBuffer());

  // Numbers as text: a format of Python's, or three significant digits.
  const written = (x, form = ".3g") => {
    if (!Number.isFinite(x)) return Number.isNaN(x) ? "\u2013" : x > 0 ? "\u221e" : "\u2212\u221e";
    const [, plus, , digits, kind] = /^(\+?)(\.(\d+))?([fg%d]?)$/.exec(form);
    const n = digits === undefined ? 6 : Number(digits);
    let text = kind === "f" ? x.toFixed(n) : kind === "%" ? `${(100 * x).toFixed(n)}%`
      : kind === "d" ? String(Math.round(x)) : String(Number(x.toPrecision(n || 1)));
    if (!parseFloat(text)) return text.replace("-", "");
    return (plus && x > 0 ? "+" : "") + text.replace("-", "\u2212");
  };

  // About `count` round numbers from low to high, each with its text.
  const ticks = ([low, high], count) => {
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
    const digits = clamp(-Math.floor(Math.log10(step) + 1e-9), 0, 20), found = [];
    for (let k = Math.ceil(low / step - 1e-9); k <= high / step + 1e-9; k++) {
      const text = Math.abs(k * step) < 1e6 ? (k * step).toFixed(digits) : (k * step).toPrecision(3);
      found.push([k * step, text.replace(/-/g, "\u2212")]);
    }
    return found;
  };

  // Colours.  The page says whether it is dark; a mark too close to the ground is made lighter.
  const parts = (colour) => {
    const hex = /^#(..)(..)(..)$/.exec(colour.trim());
    return hex ? hex.slice(1).map((two) => parseInt(two, 16)) : colour.match(/[\d.]+/g).map(Number);
  };
  const luminance = (rgb) => rgb.slice(0, 3).reduce((sum, level, i) => {
    const x = level / 255, linear = x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    return sum + [0.2126, 0.7152, 0.0722][i] * linear;
  }, 0);
  const isDark = (figure) => {
    const { theme } = document.documentElement.dataset;
    if (theme === "dark" || theme === "light") return theme === "dark";
    const jupyter = document.body.dataset.jpThemeLight;
    if (jupyter) return jupyter === "false";
    for (let up = figure.parentElement; up; up = up.parentElement) {
      const ground = parts(getComputedStyle(up).backgroundColor);
      if (ground.length < 4 || ground[3] > 0.5) return luminance(ground) < 0.2;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const coloursOf = (figure) => {
    const css = getComputedStyle(figure), dark = figure.dataset.shade === "dark";
    const [ground, ink, axis, grid] = ["ground", "ink", "axis", "grid"]
      .map((name) => css.getPropertyValue(`--explore-${name}`).trim());
    const behind = luminance(parts(ground)) + 0.05;
    const mark = (colour) => {
      const rgb = parts(colour);
      if (dark && luminance(rgb) < 0.01) return ink;
      for (let share = 0; dark && share <= 1; share += 0.05) {
        const mixed = rgb.map((level) => Math.round(level + share * (255 - level)));
        if ((luminance(mixed) + 0.05) / behind >= 4.5) return `rgb(${mixed.join(" ")})`;
      }
      return colour;
    };
    return { ground, ink, axis, grid, mark };
  };

  // Draws one panel; returns how data and CSS pixels of the canvas correspond.
  const draw = (canvas, panel, { reals, picture, colours }) => {
    const width = canvas.clientWidth, height = canvas.clientHeight, ratio = window.devicePixelRatio || 1;
    Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    const pen = canvas.getContext("2d"), small = width < 240;
    pen.scale(ratio, ratio);
    Object.assign(pen, { font: `${small ? 12 : 13}px ${FONT}`, fillStyle: colours.ground, imageSmoothingEnabled: false });
    pen.fillRect(0, 0, width, height);
    const image = panel.image && picture(panel.image), size = (text) => pen.measureText(text).width;
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
      [top, bottom] = [panel.ylabel ? 27 : 8, height - (panel.xlabel ? small ? 36 : 42 : 24)];
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
    const X = (x) => left + (x - xlim[0]) / (xlim[1] - xlim[0]) * (right - left);
    const Y = (y) => bottom - (y - ylim[0]) / (ylim[1] - ylim[0]) * (bottom - top);
    const view = {
      X, Y, left, top, image,
      x: (px) => xlim[0] + (px - left) / (right - left) * (xlim[1] - xlim[0]),
      y: (py) => ylim[0] + (bottom - py) / (bottom - top) * (ylim[1] - ylim[0]),
    };
    if (image) pen.drawImage(image, left, top, right - left, bottom - top);
    if (!panel.marks.length) return view;

    // Grid, ticks and labels; as many ticks as fit below each other and side by side.
    const names = panel.marks[0].names;
    Object.assign(pen, { fillStyle: colours.ink, strokeStyle: colours.grid, textBaseline: "middle", textAlign: "right" });
    for (const [y, text] of yTicks) {
      if (!image) line(left, Y(y), right, Y(y));
      pen.fillText(text, left - 6, Y(y));
    }
    Object.assign(pen, { textBaseline: "alphabetic", textAlign: "center" });
    let xTicks, count = 9;
    if (names) xTicks = names.map((name, i) => [i, name]);
    else do xTicks = ticks(xlim, count);
    while (--count && xTicks.reduce((sum, [, text]) => sum + size(text) + (small ? 8 : 12), 0) > right - left);
    for (const [x, text] of xTicks) {
      if (!image && !names) line(X(x), top, X(x), bottom);
      pen.fillText(text, Math.min(X(x), width - size(text) / 2), bottom + 17, names ? X(1) - X(0) : width);
    }
    const middle = Math.min((left + right) / 2, width - size(panel.xlabel) / 2);
    pen.fillText(panel.xlabel, Math.max(middle, width / 2), bottom + (small ? 33 : 37), width);
    pen.textAlign = "left";
    pen.fillText(panel.ylabel, 0, top - 14, width);
    pen.strokeStyle = colours.axis;
    line(left, bottom, right, bottom);
    line(left, top, left, bottom);

    Object.assign(pen, { lineWidth: 2, lineJoin: "round" });
    for (const mark of panel.marks) {
      const over = { marker: 11, cloud: 3 }[mark.kind] ?? 1;  // a dot may overhang
      pen.save();
      pen.beginPath();
      pen.rect(left - over, top - over, right - left + 2 * over, bottom - top + 2 * over);
      pen.clip();
      const x = reals(mark.x).map(X), y = reals(mark.y).map(Y);
      const there = x.map((_, i) => !Number.isNaN(x[i] + y[i]));
      const radius = { marker: 5.5, cloud: small ? 1.6 : 2 }[mark.kind];
      pen.strokeStyle = pen.fillStyle = colours.mark(mark.colour);
      pen.setLineDash(mark.dashed ? [7, 5] : []);
      pen.beginPath();
      there.forEach((here, i) => {
        if (!here) return;
        if (mark.kind === "bars") pen.rect(X(i - 0.4), Y(0), X(0.8) - X(0), y[i] - Y(0));
        else if (!radius && there[i - 1]) pen.lineTo(x[i], y[i]);
        else pen.moveTo(x[i], y[i]);
        if (radius) pen.arc(x[i], y[i], radius, 0, 2 * Math.PI);
      });
      if (mark.kind === "curve") pen.stroke();
      else pen.fill();
      if (draggable(mark)) {  // a ring says that one can take hold of it, its rim stands out on pictures
        const width = pen.lineWidth;
        for (const [style, more] of [[colours.ground, 3], [colours.mark(mark.colour), 0]]) {
          pen.strokeStyle = style;
          pen.lineWidth = width + more;
          pen.beginPath();
          pen.arc(x[0], y[0], 9, 0, 2 * Math.PI);
          pen.stroke();
        }
      }
      pen.restore();
    }
    return view;
  };
  const draggable = (mark) => Boolean(mark.handle || (mark.frames && mark.frames.length));

  // Inputs: each returns [its node, a function that makes it show a state].
  const choice = ({ label, texts }, name, choose) => {
    const radios = texts.map(() => element("input", { type: "radio", name }));
    radios.forEach((radio, index) => radio.addEventListener("change", () => choose(index)));
    const labels = radios.map((radio, i) => element("label", {}, radio, element("span", {}, texts[i])));
    const node = element("div", { class: "control", role: "radiogroup", "aria-label": label },
      element("span", { class: "name" }, label), element("span", { class: "choices" }, ...labels));
    return [node, (index) => { radios[index].checked = true; }];
  };
  const range = (label, limits, text, choose) => {
    const input = element("input", { type: "range", ...limits });
    const value = element("b", { "aria-hidden": "true" });
    input.addEventListener("input", () => choose(Number(input.value)));
    const node = element("label", { class: "control" },
      element("span", { class: "name" }, label, " ", value), input);
    return [node, (number) => {
      input.value = number;
      input.setAttribute("aria-valuetext", value.textContent = text(number));
    }];
  };
  const switches = ({ label, texts }, name, choose) => {
    const boxes = texts.map(() => element("input", { type: "checkbox", name }));
    for (const box of boxes) box.addEventListener("change", () => choose(boxes.map((one) => Number(one.checked))));
    const labels = boxes.map((box, i) => element("label", {}, box, element("span", {}, texts[i])));
    const node = element("div", { class: "control", role: "group", "aria-label": label },
      element("span", { class: "name" }, label), element("span", { class: "choices" }, ...labels));
    return [node, (states) => boxes.forEach((box, i) => { box.checked = Boolean(states[i]); })];
  };

  // A pad, black on white like every image: strokes in units of its side; `ink` brings them to the form of the training images.
  const pad = ({ label, size, box, stroke, start, examples }, change) => {
    const images = Object.fromEntries(Object.entries(examples)
      .map(([name, text]) => [name, [...inflated(text)].map((level) => level / 255)]));
    let strokes = [], example = start, cursor = [0.5, 0.5], down = false;
    const path = (pen, points, scale, x, y, wide) => {
      Object.assign(pen, { lineWidth: wide, lineCap: "round", lineJoin: "round" });
      for (const one of points) {
        pen.beginPath();
        one.forEach(([px, py], i) => pen[i ? "lineTo" : "moveTo"](px * scale + x, py * scale + y));
        if (one.length === 1) pen.lineTo(one[0][0] * scale + x + 0.01, one[0][1] * scale + y);
        pen.stroke();
      }
    };
    const FINE = 4, fine = element("canvas", { width: FINE * size, height: FINE * size });
    const rendered = (scale, x, y) => {
      const pen = fine.getContext("2d", { willReadFrequently: true });
      pen.clearRect(0, 0, FINE * size, FINE * size);
      path(pen, strokes, FINE * scale, FINE * x, FINE * y, FINE * stroke);
      const { data: pixels } = pen.getImageData(0, 0, FINE * size, FINE * size), found = Array(size * size).fill(0);
      for (let i = 0; i < FINE * size; i++) for (let j = 0; j < FINE * size; j++) {
        const to = Math.floor(i / FINE) * size + Math.floor(j / FINE);
        found[to] += pixels[4 * (i * FINE * size + j) + 3] / (255 * FINE * FINE);
      }
      return found;
    };
    const ink = () => {
      if (example !== null) return images[example];
      const all = strokes.flat();
      if (!all.length) return Array(size * size).fill(0);
      const low = [0, 1].map((axis) => Math.min(...all.map((point) => point[axis])));
      const high = [0, 1].map((axis) => Math.max(...all.map((point) => point[axis])));
      const scale = (box - stroke) / Math.max(high[0] - low[0], high[1] - low[1], 0.15);
      const at = [0, 1].map((axis) => size / 2 - scale * (low[axis] + high[axis]) / 2);
      const found = rendered(scale, ...at);
      if (size < 20) return found;
      const sum = found.reduce((a, b) => a + b, 0);
      const middle = [(i) => i % size, (i) => Math.floor(i / size)]
        .map((place) => found.reduce((a, b, i) => a + b * (place(i) + 0.5), 0) / sum);
      return rendered(scale, ...at.map((x, axis) => x + size / 2 - middle[axis]));
    };

    const hint = "draw, or steer the pen with the arrow keys; Space lowers and lifts it, Delete clears";
    const canvas = element("canvas", { tabindex: 0, role: "application", class: "pad", "aria-label": `${label}: ${hint}` });
    const begin = (point) => {
      example = null;
      strokes.push([point]);
    };
    const clear = (name = null) => {
      [strokes, example, down] = [[], name, false];
      change();
    };
    const place = (event) => [event.offsetX / canvas.clientWidth, event.offsetY / canvas.clientHeight]
      .map((x) => clamp(x, 0, 1));
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      begin(place(event));
      down = false;
      change();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      strokes.at(-1).push(place(event));
      change();
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) {
        cursor = cursor.map((x, axis) => clamp(x + step[axis] / 16, 0, 1));
        if (down) strokes.at(-1).push(cursor);
      } else if (event.key === " " || event.key === "Enter") {
        down = !down;
        if (down) begin(cursor);
      } else if (event.key === "Delete" || event.key === "Backspace") clear();
      else return;
      event.preventDefault();
      change();
    });
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => change());
    const show = () => {
      const side = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
      Object.assign(canvas, { width: Math.round(side * ratio), height: Math.round(canvas.clientHeight * ratio) });
      const pen = canvas.getContext("2d"), mask = new ImageData(size, size);
      pen.scale(ratio, ratio);
      pen.imageSmoothingEnabled = false;
      if (example !== null) {
        images[example].forEach((level, i) => mask.data.set([0, 0, 0, 255 * level], 4 * i));
        fine.getContext("2d").clearRect(0, 0, FINE * size, FINE * size);
        fine.getContext("2d").putImageData(mask, 0, 0);
        pen.drawImage(fine, 0, 0, size, size, 0, 0, side, canvas.clientHeight);
      }
      pen.strokeStyle = "black";
      path(pen, strokes, side, 0, 0, side * stroke / size);
      if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
        Object.assign(pen, { strokeStyle: "gray", fillStyle: "gray", lineWidth: 2 });
        pen.beginPath();
        pen.arc(cursor[0] * side, cursor[1] * side, 6, 0, 2 * Math.PI);
        pen[down ? "fill" : "stroke"]();
      }
    };
    const buttons = [["Clear", null], ...Object.keys(examples).map((name) => [name, name])].map(([text, name]) => {
      const button = element("button", { type: "button" }, text);
      button.addEventListener("click", () => clear(name));
      return button;
    });
    const node = element("div", { class: "control", role: "group", "aria-label": `${label}: examples` },
      element("span", { class: "name" }, label), element("span", { class: "choices" }, ...buttons));
    return { node, canvas, ink, show };
  };

  const build = (figure) => {
    const engine = compute && compute(data.graph, bytes);
    const state = data.controls.map(({ start }) => Array.isArray(start) ? [...start] : start);
    const given = (number) => {  // what the function gets
      const { kind, numbers } = data.controls[number];
      if (kind === "drawing") return pads[number].ink();
      return [kind === "control" ? numbers[state[number]] : state[number]].flat();
    };
    const set = (number, value) => {
      if (value !== undefined) state[number] = value;
      if (engine) engine.set(number, given(number));
    };
    const choose = (number) => (value) => {
      set(number, value);
      update();
    };

    // What a quantity holds now.
    const frameOf = (chosen) => data.controls.reduce((sum, { texts }, i) => sum * texts.length + chosen[i], 0);
    const row = (table, chosen) => (table.rows ? table.rows[frameOf(chosen)] : 0);
    const reals = (table, chosen = state) => {
      if (table.node !== undefined) return [...engine.value(table.node)];
      const { length, offset, low, step } = table, first = row(table, chosen) * length;
      return Array.from({ length }, (_, i) => {
        const code = bytes.getUint16(offset + 2 * (first + i), true);
        return code === 65535 ? NaN : low + step * code;
      });
    };
    const picture = (table) => {
      const { height, width, channels } = table, pixels = new ImageData(width, height);
      const values = table.node === undefined ? null : engine.value(table.node);
      const first = values ? 0 : table.offset + row(table, state) * height * width * channels;
      for (let i = 0; i < pixels.data.length; i++) {
        const at = channels * (i >> 2) + i % 4 % channels;
        pixels.data[i] = i % 4 === 3 && channels < 4 ? 255 : values ? 255 * values[at] : bytes.getUint8(first + at);
      }
      const canvas = element("canvas", { width, height });
      canvas.getContext("2d").putImageData(pixels, 0, 0);
      return canvas;
    };

    const pads = [];
    const inputs = data.controls.map((control, number) => {
      const { kind, label, texts, low, high, unit } = control, name = `control-${number}`;
      if (kind === "point") return [null, () => {}];
      if (kind === "switches") return switches(control, name, choose(number));
      if (kind === "slider") {
        return range(label, { min: low, max: high, step: (high - low) / 200 }, (x) => written(x) + unit, choose(number));
      }
      if (kind === "drawing") {
        pads[number] = pad(control, () => choose(number)());
        return [pads[number].node, () => {}];
      }
      if (texts.length <= 4) return choice(control, name, choose(number));
      return range(label, { min: 0, max: texts.length - 1 }, (index) => texts[index], choose(number));
    });
    const form = element("form", {}, ...inputs.map(([node]) => node).filter(Boolean));
    form.addEventListener("submit", (event) => event.preventDefault());

    // Dragging: put a point where the finger is, in data units.
    const follow = (mark, panel, view, x, y) => {
      if (mark.handle) {
        const goal = { x: clamp(x, ...panel.xlim), y: clamp(y, ...panel.ylim) };
        for (const axis of ["x", "y"]) {
          const bond = mark.handle[axis];
          if (!bond) continue;
          const { input, component, probes } = bond, { kind, numbers, low, high } = data.controls[input];
          const before = engine && given(input);
          const at = (number) => {
            engine.set(input, component === null ? [number] : before.with(component, number));
            return engine.value(mark[axis].node)[0];
          };
          const [from, to] = probes.map(at), solved = probes[0] + (goal[axis] - from) / (to - from) * (probes[1] - probes[0]);
          if (!Number.isFinite(solved)) set(input);
          else if (kind === "point") set(input, before.with(component, solved));
          else if (kind === "slider") set(input, clamp(solved, low, high));
          else set(input, numbers.reduce((best, n, i) => Math.abs(n - solved) < Math.abs(numbers[best] - solved) ? i : best, 0));
        }
      } else nearest(mark, (px, py) => Math.hypot(px - view.X(x), py - view.Y(y)), view);
      update();
    };
    const nearest = (mark, distance, view) => {  // the frame in which the point has least distance
      let best = Infinity, chosen = state;
      const visit = (trial, rest) => {
        if (!rest.length) {
          const away = distance(view.X(reals(mark.x, trial)[0]), view.Y(reals(mark.y, trial)[0]));
          if (away < best) [best, chosen] = [away, [...trial]];
          return;
        }
        const [control, ...others] = rest;
        data.controls[control].texts.forEach((_, index) => visit(trial.with(control, index), others));
      };
      visit([...state], mark.frames);
      chosen.forEach((index, number) => { state[number] = index; });
    };

    const views = data.panels.map((panel, number) => {
      const title = panel.title || panel.ylabel || "continued";
      const name = number ? `Panel ${number + 1}: ${title}` : data.alt;
      const canvas = element("canvas", { role: "img", "aria-label": name });
      const text = element("div", { class: "text", "aria-live": "polite" });
      const swatches = [];
      const legend = panel.marks.filter((mark) => mark.label).map((mark) => {
        const swatch = element("i", { class: mark.dashed ? "curve dashed" : mark.kind });
        swatches.push([swatch, mark.colour]);
        return element("span", {}, swatch, mark.label);
      });
      let view = null;
      const handles = panel.marks.filter(draggable).map((mark) => {
        const node = element("div", { class: "handle", role: "slider", tabindex: 0,
          "aria-roledescription": "point", "aria-label": mark.label || panel.title || "point",
          "aria-valuemin": panel.xlim[0], "aria-valuemax": panel.xlim[1] });
        const here = () => [reals(mark.x)[0], reals(mark.y)[0]];
        const to = (event) => {
          const box = canvas.getBoundingClientRect();
          follow(mark, panel, view, view.x(event.clientX - box.left), view.y(event.clientY - box.top));
        };
        node.addEventListener("pointerdown", (event) => {
          if (event.button) return;
          node.setPointerCapture(event.pointerId);
          event.preventDefault();
          node.focus({ preventScroll: true });
        });
        node.addEventListener("pointermove", (event) => { if (node.hasPointerCapture(event.pointerId)) to(event); });
        node.addEventListener("keydown", (event) => {
          const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
          if (!step) return;
          event.preventDefault();
          const [x, y] = here(), part = event.shiftKey ? 8 : 40;
          if (mark.handle) {
            follow(mark, panel, view, x + step[0] * (panel.xlim[1] - panel.xlim[0]) / part,
              y + step[1] * (panel.ylim[1] - panel.ylim[0]) / part);
            return;
          }
          nearest(mark, (px, py) => {  // the next frame in this direction
            const ahead = (px - view.X(x)) * step[0] - (py - view.Y(y)) * step[1];
            const aside = Math.abs((px - view.X(x)) * step[1]) + Math.abs((py - view.Y(y)) * step[0]);
            return ahead > 0.5 ? ahead + 3 * aside : Infinity;
          }, view);
          update();
        });
        const show = () => {
          const [x, y] = here(), there = Number.isFinite(x + y);
          node.hidden = !there;
          if (!there) return;
          node.style.left = `${canvas.offsetLeft + view.X(x)}px`;
          node.style.top = `${canvas.offsetTop + view.Y(y)}px`;
          node.setAttribute("aria-valuenow", x);
          node.setAttribute("aria-valuetext", `${panel.xlabel || "x"} ${written(x)}, ${panel.ylabel || "y"} ${written(y)}`);
        };
        const away = (px, py) => Math.hypot(px - view.X(here()[0]), py - view.Y(here()[1]));
        return { node, to, show, away };
      });
      const press = (event) => {  // the nearest point comes to the finger
        const far = handles.map(({ away }) => away(event.offsetX, event.offsetY));
        const chosen = handles[far.indexOf(Math.min(...far))];
        if (!chosen) return;
        chosen.to(event);
        chosen.node.focus({ preventScroll: true });
        return chosen;
      };
      let pointer = "mouse";
      canvas.addEventListener("pointerdown", (event) => {
        pointer = event.pointerType;
        if (pointer === "touch" || event.button) return;  // a touch may want to scroll: see click
        const chosen = press(event);
        if (!chosen) return;
        event.preventDefault();
        chosen.node.setPointerCapture(event.pointerId);
      });
      canvas.addEventListener("click", (event) => {
        if (pointer === "touch") press(event);
        if (!panel.regions) return;
        const { width, height } = panel.image, { input, places } = panel.regions;
        const [column, line] = panel.marks.length ? [
          (view.x(event.offsetX) - panel.xlim[0]) / (panel.xlim[1] - panel.xlim[0]) * width,
          (panel.ylim[1] - view.y(event.offsetY)) / (panel.ylim[1] - panel.ylim[0]) * height,
        ] : [view.x(event.offsetX), height - view.y(event.offsetY)];
        if (column < 0 || line < 0 || column >= width || line >= height) return;
        const found = places[Math.floor(line) * width + Math.floor(column)];
        if (found >= 0) choose(input)(state[input].with(found, 1 - state[input][found]));
      });
      const kind = panel.marks.length && !panel.equal_aspect ? "" : " square";
      const box = element("div", { class: `panel${kind}${panel.regions ? " pressed" : ""}` },
        element("div", { class: "title" }, panel.title), element("div", { class: "legend" }, ...legend),
        canvas, text, ...handles.map(({ node }) => node));
      return { box, canvas, square: Boolean(kind), axes: panel.marks.length > 0, show: (colours) => {
        view = draw(canvas, panel, { reals, picture, colours });
        swatches.forEach(([swatch, colour]) => { swatch.style.color = colours.mark(colour); });
        handles.forEach(({ show }) => show());
        const now = panel.template
          ? panel.template.map((piece) => piece.node === undefined ? piece : written(engine.value(piece.node)[0], piece.form)).join("")
          : panel.text[panel.text.length > 1 ? frameOf(state) : 0];
        if (text.textContent !== now) text.textContent = now;
        text.style.minHeight = `${Math.max(parseFloat(text.style.minHeight) || 0, text.offsetHeight)}px`;
      } };
    });
    pads.forEach(({ canvas, show }, number) => {
      const box = element("div", { class: "panel square" },
        element("div", { class: "title" }, data.controls[number].label), element("div", { class: "legend" }), canvas);
      views.unshift({ box, canvas, square: true, axes: false, pad: true, show });
    });
    const area = element("div", { class: "panels" }, ...views.map(({ box }) => box));
    for (const node of [form, area]) {  // keep keys from JupyterLab
      node.addEventListener("keydown", (event) => event.stopPropagation());
      node.setAttribute("data-lm-suppress-shortcuts", "true");
    }

    const update = () => {
      inputs.forEach(([, show], number) => show(state[number]));
      const colours = coloursOf(figure);
      views.forEach(({ show }) => show(colours));
    };
    // On a phone: pictures in pairs, axes across, and no taller than the screen.
    const arrange = () => {
      const width = area.clientWidth, phone = width < PHONE;
      if (!width) return;
      figure.classList.toggle("phone", phone);
      let run = 0;  // squares in a row
      views.forEach(({ box, square }, i) => {
        run = square ? run + 1 : 0;
        box.classList.toggle("across", phone && !(square && (run % 2 === 0 || views[i + 1]?.square)));
      });
      area.querySelectorAll(".text").forEach((text) => { text.style.minHeight = 0; });
      const give = (less) => {
        for (const { canvas, square, axes, pad } of views) {
          const room = canvas.parentElement.clientWidth - 16, alone = views.length === 1;
          const wanted = square ? Math.min(room, alone ? 230 : 170) + 40 * axes : alone ? 220 : 160;
          const height = phone ? Math.max(wanted - less, 90) : pad ? Math.min(data.height, room) : data.height;
          canvas.style.height = `${height}px`;
          if (pad) canvas.style.width = `${height}px`;
        }
      };
      const rows = new Set(views.map(({ box }) => box.offsetTop)).size;
      const whole = figure.closest("figure.numbered") ?? figure;  // with its caption
      for (let less = 0, tries = 0; tries < (phone ? 3 : 1); tries++) {
        give(less);
        update();
        less = Math.max(0, less + Math.ceil((whole.offsetHeight - TALLEST) / rows));
      }
    };

    figure.querySelector("img").hidden = true;
    data.controls.forEach((_, number) => set(number));
    figure.append(area, form);
    const shade = () => {
      figure.dataset.shade = isDark(figure) ? "dark" : "light";
      if (area.clientWidth) update();
    };
    shade();
    let width = 0;
    new ResizeObserver(() => {
      if (area.clientWidth !== width) arrange();
      width = area.clientWidth;
    }).observe(area);
    window.addEventListener("load", arrange);  // the page may have added a caption
    const watch = new MutationObserver(shade);
    for (const node of [document.documentElement, document.body]) watch.observe(node, { attributes: true });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", shade);
    return { state, engine };
  };

  if (!document.getElementById("explore-style")) {
    document.head.append(element("style", { id: "explore-style" }, style));
  }
  for (const figure of document.querySelectorAll(`figure[data-explore="${id}"]`)) {
    figure.explorable ??= build(figure);
  }
})
