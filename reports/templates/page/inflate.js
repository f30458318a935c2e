// SPDX-License-Identifier: MIT
// Deflate (RFC 1951), for browsers without DecompressionStream.

/** @param {number[]} lengths @returns {{counts: Uint16Array, symbols: Uint16Array}} */
const huffman = (lengths) => {
  const counts = new Uint16Array(16), offsets = new Uint16Array(16), symbols = new Uint16Array(lengths.length);
  for (const length of lengths) counts[length]++;
  counts[0] = 0;
  for (let n = 1; n < 16; n++) offsets[n] = offsets[n - 1] + counts[n - 1];
  lengths.forEach((length, symbol) => { if (length) symbols[offsets[length]++] = symbol; });
  return { counts, symbols };
};

/** @param {Uint8Array} data @returns {Uint8Array} */
const inflate = (data) => {
  let at = 0, bit = 0, size = 0, out = new Uint8Array(data.length * 8);
  /** @param {number} count */
  const bits = (count) => {
    let value = 0;
    for (let n = 0; n < count; n++) {
      value |= (data[at] >> bit & 1) << n;
      if (++bit === 8) { bit = 0; at++; }
    }
    return value;
  };
  /** @param {{counts: Uint16Array, symbols: Uint16Array}} code */
  const symbol = ({ counts, symbols }) => {
    let code = 0, first = 0, index = 0;
    for (let length = 1; length < 16; length++) {
      code |= bits(1);
      const count = counts[length];
      if (code - count < first) return symbols[index + code - first];
      index += count;
      first = first + count << 1;
      code <<= 1;
    }
    throw new Error("the data of the page is damaged");
  };
  /** @param {number} more */
  const grow = (more) => {
    if (size + more <= out.length) return;
    const larger = new Uint8Array(Math.max(out.length * 2, size + more));
    larger.set(out.subarray(0, size));
    out = larger;
  };
  const lengthOf = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
  const distanceOf = [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577];
  for (let last = 0; !last;) {
    last = bits(1);
    const kind = bits(2);
    if (kind === 0) {
      if (bit) { bit = 0; at++; }
      const length = data[at] | data[at + 1] << 8;
      grow(length);
      out.set(data.subarray(at + 4, at + 4 + length), size);
      at += 4 + length;
      size += length;
      continue;
    }
    /** @type {number[]} */
    let literals, distances;
    if (kind === 1) {
      literals = Array.from({ length: 288 }, (_, n) => n < 144 ? 8 : n < 256 ? 9 : n < 280 ? 7 : 8);
      distances = Array(30).fill(5);
    } else {
      const literal = bits(5) + 257, distance = bits(5) + 1, count = bits(4) + 4;
      /** @type {number[]} */
      const order = Array(19).fill(0), lengths = [];
      for (let n = 0; n < count; n++) order[[16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15][n]] = bits(3);
      const code = huffman(order);
      while (lengths.length < literal + distance) {
        const value = symbol(code);
        if (value < 16) lengths.push(value);
        else {
          /** @type {number} */
          const repeated = value === 16 ? lengths[lengths.length - 1] : 0;
          const times = value === 16 ? 3 + bits(2) : value === 17 ? 3 + bits(3) : 11 + bits(7);
          for (let n = 0; n < times; n++) lengths.push(repeated);
        }
      }
      literals = lengths.slice(0, literal);
      distances = lengths.slice(literal);
    }
    const literal = huffman(literals), distance = huffman(distances);
    for (;;) {
      const value = symbol(literal);
      if (value === 256) break;
      if (value < 256) {
        grow(1);
        out[size++] = value;
        continue;
      }
      const n = value - 257;
      const length = lengthOf[n] + bits(n < 8 || n === 28 ? 0 : (n >> 2) - 1);
      const d = symbol(distance);
      const back = distanceOf[d] + bits(d < 4 ? 0 : (d >> 1) - 1);
      grow(length);
      for (let from = size - back, end = size + length; size < end;) out[size++] = out[from++];
    }
  }
  return out.subarray(0, size);
};
