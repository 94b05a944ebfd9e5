/** Arithmetic of cutting a picture to a square. */
import type { CropItem } from '../ipc/bindings/CropItem';

export type Size = { width: number; height: number };

/** The square that is learned from when nothing is cut: the centre, as large as fits. */
export function centre({ width, height }: Size): CropItem {
  const side = Math.min(width, height);
  return { x: Math.floor((width - side) / 2), y: Math.floor((height - side) / 2), side };
}

/** `crop` moved and shrunk so that it is whole pixels within the picture and not below `least`. */
export function within(crop: CropItem, { width, height }: Size, least: number): CropItem {
  const most = Math.min(width, height);
  const side = Math.round(Math.min(most, Math.max(Math.min(least, most), crop.side)));
  const place = (start: number, size: number) => Math.round(Math.min(size - side, Math.max(0, start)));
  return { x: place(crop.x, width), y: place(crop.y, height), side };
}

/** `crop` with another side around the same middle. */
export function zoomed(crop: CropItem, side: number, size: Size, least: number): CropItem {
  const shift = (crop.side - side) / 2;
  return within({ x: crop.x + shift, y: crop.y + shift, side }, size, least);
}
