/** Changes of many captions at once. */
import type { PictureItem } from '../ipc/bindings/PictureItem';

export type BulkChange =
  | { kind: 'prefix'; text: string }
  | { kind: 'suffix'; text: string }
  | { kind: 'replace'; find: string; text: string }
  | { kind: 'expression'; text: string }
  | { kind: 'heldOut'; value: boolean };

function joined(before: string, after: string): string {
  return [before.trim(), after.trim()].filter(Boolean).join(/[,.;:]$/.test(before.trim()) ? ' ' : ', ');
}

function changed(picture: PictureItem, change: BulkChange): PictureItem {
  const { caption } = picture;
  switch (change.kind) {
    case 'prefix':
      return caption.startsWith(change.text.trim())
        ? picture
        : { ...picture, caption: joined(change.text, caption) };
    case 'suffix':
      return caption.endsWith(change.text.trim())
        ? picture
        : { ...picture, caption: joined(caption, change.text) };
    case 'replace':
      return change.find === ''
        ? picture
        : { ...picture, caption: caption.split(change.find).join(change.text) };
    case 'expression':
      return { ...picture, expression: change.text.trim() };
    case 'heldOut':
      return { ...picture, isHeldOut: change.value };
  }
}

/** The pictures that `change` alters, as they are afterwards. */
export function bulk(pictures: PictureItem[], change: BulkChange): PictureItem[] {
  return pictures.flatMap((picture) => {
    const after = changed(picture, change);
    const isSame =
      after.caption === picture.caption &&
      after.expression === picture.expression &&
      after.isHeldOut === picture.isHeldOut;
    return isSame ? [] : [after];
  });
}

/** Pictures whose caption does not name the character, with the name put first. */
export function named(pictures: PictureItem[], name: string): PictureItem[] {
  const nameless = pictures.filter((p) => p.caption.trim() !== '' && !p.caption.includes(name));
  return bulk(nameless, { kind: 'prefix', text: name });
}
