/** Arithmetic of making a picture a square: cutting one out of it, or putting it whole into one. */
import type { CropItem } from '../ipc/bindings/CropItem';

export type Size = { width: number; height: number };
/** Red, green and blue, 0 to 255. */
export type Colour = [number, number, number];

/** The square that is learned from when nothing is cut: the centre, as large as fits. */
export function centre({ width, height }: Size): CropItem {
  const side = Math.min(width, height);
  return {
    x: Math.floor((width - side) / 2),
    y: Math.floor((height - side) / 2),
    side,
    background: null,
  };
}

/** The square that holds the whole picture in its middle, filled up with `background`. */
export function around({ width, height }: Size, background: Colour): CropItem {
  const side = Math.max(width, height);
  return { x: Math.floor((width - side) / 2), y: Math.floor((height - side) / 2), side, background };
}

/** `crop` moved and shrunk so that it is whole pixels within the picture and not below `least`. */
export function within(crop: CropItem, { width, height }: Size, least: number): CropItem {
  const most = Math.min(width, height);
  const side = Math.round(Math.min(most, Math.max(Math.min(least, most), crop.side)));
  const place = (start: number, size: number) => Math.round(Math.min(size - side, Math.max(0, start)));
  return { x: place(crop.x, width), y: place(crop.y, height), side, background: null };
}

/** `crop` with another side around the same middle. */
export function zoomed(crop: CropItem, side: number, size: Size, least: number): CropItem {
  const shift = (crop.side - side) / 2;
  return within({ ...crop, x: crop.x + shift, y: crop.y + shift, side }, size, least);
}

/** Where the whole picture lies when `crop` of it fills a square of `side` pixels. */
export function placed(
  crop: CropItem,
  { width, height }: Size,
  side: number,
): Size & { x: number; y: number } {
  const scale = side / crop.side;
  return {
    x: 0 - crop.x * scale,
    y: 0 - crop.y * scale,
    width: width * scale,
    height: height * scale,
  };
}

/** A colour as colour fields write it, `#rrggbb`. */
export function hex(colour: Colour): string {
  return `#${colour.map((part) => part.toString(16).padStart(2, '0')).join('')}`;
}

/** The colour that `#rrggbb` names; null for other texts. */
export function fromHex(text: string): Colour | null {
  const parts = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(text.trim());
  return parts && (parts.slice(1).map((part) => parseInt(part, 16)) as Colour);
}
