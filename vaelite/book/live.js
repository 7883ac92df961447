// Computes a live figure: the operations of vaelite/book/live.py, on flat arrays in C order.
// A function of the graph and of the unpacked bytes; nothing is computed before it is asked for.
(graph, bytes) => {
  // IEEE 754 half precision, for browsers without half-float arrays.
  const half = (code) => {
    const sign = code & 0x8000 ? -1 : 1, exponent = (code >> 10) & 31, fraction = code & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    if (!exponent) return sign * fraction * 2 ** -24;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  };
  const count = (shape) => shape.reduce((product, n) => product * n, 1);
  const read = (size, offset, get) => Float64Array.from({ length: size }, (_, i) => get(offset, i));
  const constant = ({ shape, offset, half: halves }) => read(count(shape), offset, halves
    ? (at, i) => half(bytes.getUint16(at + 2 * i, true))
    : (at, i) => bytes.getFloat32(at + 4 * i, true));

  const unary = {
    absolute: Math.abs, cos: Math.cos, exp: Math.exp, log: Math.log, negative: (x) => -x,
    sin: Math.sin, sqrt: Math.sqrt, square: (x) => x * x, tanh: Math.tanh,
    sigmoid: (x) => 1 / (1 + Math.exp(-x)),
    softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  };
  const binary = {
    add: (a, b) => a + b, subtract: (a, b) => a - b, multiply: (a, b) => a * b,
    divide: (a, b) => a / b, power: (a, b) => a ** b, maximum: Math.max, minimum: Math.min,
    greater: (a, b) => Number(a > b), less: (a, b) => Number(a < b),
  };

  // For each entry of a result, the entry of one argument that is broadcast to it.
  const places = (from, to) => {
    let found = [0], stride = count(from);
    to.forEach((n, axis) => {
      const own = from[axis - to.length + from.length] ?? 1, next = [];
      if (axis >= to.length - from.length) stride /= own;
      for (const start of found) for (let i = 0; i < n; i++) next.push(start + (own > 1 ? i * stride : 0));
      found = next;
    });
    return Uint32Array.from(found);
  };
  const elementwise = (node, apply) => {
    const [a, b] = node.of.map(value), result = new Float64Array(count(node.shape));
    node.places ??= node.of.map((k) => count(graph[k].shape) === result.length
      ? null : places(graph[k].shape, node.shape));
    const [pa, pb] = node.places;
    for (let i = 0; i < result.length; i++) result[i] = apply(a[pa ? pa[i] : i], b[pb ? pb[i] : i]);
    return result;
  };
  const reduce = (node, start, apply) => {
    const x = value(node.of[0]), result = new Float64Array(count(node.shape)).fill(start);
    const length = x.length / result.length;
    for (let i = 0; i < x.length; i++) {
      const to = Math.floor(i / length);
      result[to] = apply(result[to], x[i]);
    }
    return result;
  };
  const matmul = (node) => {
    const [a, b] = node.of.map(value), [inner, columns] = graph[node.of[1]].shape;
    const result = new Float64Array(count(node.shape));
    for (let r = 0; r * inner < a.length; r++) {
      for (let k = 0; k < inner; k++) {
        const factor = a[r * inner + k];
        if (factor) for (let c = 0; c < columns; c++) result[r * columns + c] += factor * b[k * columns + c];
      }
    }
    return result;
  };
  // Both convolutions visit pairs of pixels (small image, large image) that a kernel entry joins.
  const convolve = (transposed) => (node) => {
    const [x, weight] = node.of.map(value), from = graph[node.of[0]].shape, to = node.shape;
    const [, , rows, columns] = graph[node.of[1]].shape, { stride, padding } = node;
    const [small, large] = transposed ? [from, to] : [to, from], result = new Float64Array(count(to));
    const [, fewer, height, width] = small, [, more, tall, wide] = large;
    for (let n = 0; n < from[0]; n++) for (let s = 0; s < fewer; s++) for (let l = 0; l < more; l++) {
      const kernel = (s * more + l) * rows * columns;  // torch stores both kinds like this
      const here = (n * fewer + s) * height * width, there = (n * more + l) * tall * wide;
      for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) {
        const factor = weight[kernel + i * columns + j];
        const first = Math.max(0, Math.ceil((padding - j) / stride));
        const last = Math.min(width - 1, Math.floor((wide - 1 + padding - j) / stride));
        for (let r = 0; r < height; r++) {
          const row = r * stride + i - padding;
          if (row < 0 || row >= tall) continue;
          let a = here + r * width + first, b = there + row * wide + first * stride + j - padding;
          if (transposed) for (let c = first; c <= last; c++, a++, b += stride) result[b] += factor * x[a];
          else for (let c = first; c <= last; c++, a++, b += stride) result[a] += factor * x[b];
        }
      }
    }
    return result;
  };
  const operations = {
    constant,
    reshape: ({ of }) => value(of[0]),
    gather: (node) => {
      node.index ??= read(count(node.shape), node.offset, (at, i) => bytes.getUint32(at + 4 * i, true));
      const x = value(node.of[0]);
      return Float64Array.from(node.index, (i) => x[i]);
    },
    join: ({ of }) => Float64Array.from(of.flatMap((k) => [...value(k)])),
    sum: (node) => reduce(node, 0, (a, b) => a + b),
    max: (node) => reduce(node, -Infinity, Math.max),
    matmul,
    take: ({ of, shape }) => {
      const rows = graph[of[0]].shape[0], size = count(shape);
      const k = Math.min(Math.max(Math.round(value(of[1])[0]), 0), rows - 1);
      return value(of[0]).slice(k * size, (k + 1) * size);
    },
    conv: convolve(false),
    conv_transpose: convolve(true),
  };

  const inputs = [], known = [], reached = [];  // reached: the inputs on which a node depends
  graph.forEach(({ name, of = [], input }) => {
    reached.push(new Set(name === "input" ? [input] : of.flatMap((k) => [...reached[k]])));
  });
  function value(k) {
    const node = graph[k];
    if (node.name === "input") return inputs[node.input];
    if (!known[k]) {
      if (unary[node.name]) known[k] = value(node.of[0]).map(unary[node.name]);
      else if (binary[node.name]) known[k] = elementwise(node, binary[node.name]);
      else known[k] = operations[node.name](node);
    }
    return known[k];
  }
  return {
    value,
    set: (input, values) => {
      inputs[input] = Float64Array.from(values);
      reached.forEach((set, k) => { if (set.has(input)) known[k] = undefined; });
    },
  };
}
