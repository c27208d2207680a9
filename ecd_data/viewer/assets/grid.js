// Periodic grids of values in the order [a, b, c], and vectors in the cell.

async function decodeField(field, shape) {
  // the codes are 16 bits: all low bytes first, then all high bytes; encode_field in fields.py writes them
  const packed = Uint8Array.from(atob(field.bytes), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = shape[0] * shape[1] * shape[2];
  const table = new Float32Array(65536);
  for (let code = 0; code < 65536; code++)
    table[code] = field.scale * Math.sinh(field.low + (code * (field.high - field.low)) / 65535);
  const values = new Float32Array(count);
  for (let k = 0; k < count; k++) values[k] = table[bytes[k] | (bytes[count + k] << 8)];
  return values;
}

const wrap = (k, n) => ((k % n) + n) % n;

function toCartesian(position, lattice) {
  return [0, 1, 2].map((x) => position[0] * lattice[0][x] + position[1] * lattice[1][x] + position[2] * lattice[2][x]);
}

const dot = (u, v) => u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
const cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
const length = (u) => Math.sqrt(dot(u, u));
const scaled = (u, factor) => u.map((x) => factor * x);
const minus = (u, v) => u.map((x, k) => x - v[k]);

function cubicWeights(x) {
  // Catmull-Rom: exact at the grid points and for parabolas between them
  return [
    0.5 * x * (-1 + x * (2 - x)),
    1 + 0.5 * x * x * (3 * x - 5),
    0.5 * x * (1 + x * (4 - 3 * x)),
    0.5 * x * x * (x - 1),
  ];
}

function valueAt(values, shape, position) {
  const first = [], weights = [];
  for (let axis = 0; axis < 3; axis++) {
    const x = position[axis] * shape[axis], floor = Math.floor(x);
    first.push(floor - 1);
    weights.push(cubicWeights(x - floor));
  }
  let sum = 0;
  for (let i = 0; i < 4; i++)
    for (let j = 0; j < 4; j++) {
      const row = (wrap(first[0] + i, shape[0]) * shape[1] + wrap(first[1] + j, shape[1])) * shape[2];
      const weight = weights[0][i] * weights[1][j];
      for (let k = 0; k < 4; k++) sum += weight * weights[2][k] * values[row + wrap(first[2] + k, shape[2])];
    }
  return sum;
}

function quantileOfSize(values, share) {
  const step = Math.max(1, Math.floor(values.length / 20000)), sizes = [];
  for (let k = 0; k < values.length; k += step) sizes.push(Math.abs(values[k]));
  sizes.sort((a, b) => a - b);
  return sizes[Math.min(sizes.length - 1, Math.floor(share * sizes.length))];
}

function format(value) {
  const text = Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(+value.toPrecision(4));
  return text.replace("-", "−");
}
