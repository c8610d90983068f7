// Pictures and numbers as the server sends them.
import type { Difference, Frame } from "../api/types";

/** Newer browsers decode by themselves, in a third of the time. */
type Decoder = { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> };

export function bytes(base64: string): Uint8Array<ArrayBuffer> {
  const decoder = Uint8Array as Decoder;
  if (decoder.fromBase64 !== undefined) return decoder.fromBase64(base64);
  const text = atob(base64);
  const values = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) values[index] = text.charCodeAt(index);
  return values;
}

/** Little-endian float32 in base64. */
export function floats(base64: string): Float32Array {
  return new Float32Array(bytes(base64).buffer);
}

/** The values of a picture, however it was sent. */
export function valuesOf({ pixels }: Frame): Uint8Array<ArrayBuffer> {
  return typeof pixels === "string" ? bytes(pixels) : pixels;
}

export function toImageData(frame: Frame): ImageData {
  const values = valuesOf(frame);
  const image = new ImageData(frame.width, frame.height);
  for (let pixel = 0; pixel < frame.width * frame.height; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      const at = frame.channels === 1 ? pixel : 3 * pixel + channel;
      image.data[4 * pixel + channel] = values[at] ?? 0;
    }
    image.data[4 * pixel + 3] = 255;
  }
  return image;
}

/** The changes in pixel values, as many as `width * height * channels`. */
export function changes(difference: Difference): Float32Array {
  const { buffer, byteOffset, length } = valuesOf(difference);
  const raw = new Int8Array(buffer, byteOffset, length);
  return Float32Array.from(raw, (value) => value * difference.scale);
}
