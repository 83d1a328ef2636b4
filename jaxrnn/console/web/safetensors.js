// The weights as a safetensors file that `train --init-from` and `sample` accept: header, then the arrays, little-endian.

const encoder = new TextEncoder();

/** The bytes of the file. Its metadata hold a SHA-256 over themselves and all arrays, by which damage is found. */
export async function makeSafetensors(network, metadata, metadataJson) {
  const arrays = network.about.arrays.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const pieces = [encoder.encode(metadataJson)], entries = {};
  let start = 0;
  for (const { name, shape } of arrays) {
    const bytes = new Uint8Array(network.weights[name].buffer), sizes = shape.join(", ") + (shape.length === 1 ? "," : "");
    pieces.push(encoder.encode(`['${name}'] float32 <f4 (${sizes})`), bytes);
    entries[name] = { dtype: "F32", shape, data_offsets: [start, start + bytes.length] };
    start += bytes.length;
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await new Blob(pieces).arrayBuffer()));
  const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const header = encoder.encode(JSON.stringify({ __metadata__: { ...metadata, sha256 }, ...entries }));
  const padded = new Uint8Array(Math.ceil(header.length / 8) * 8).fill(32);
  padded.set(header);
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(padded.length), true);
  return new Blob([length.buffer, padded, ...arrays.map(({ name }) => network.weights[name])]);
}
