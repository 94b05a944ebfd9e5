/** Attachments of dialogs. */
import { mendFocus } from './focus';

/** Opens a dialog over everything. When it is gone, the focus is back where it was. */
export function modal(dialog: HTMLDialogElement): () => void {
  const opener = document.activeElement;
  dialog.showModal();
  // A dialog that is taken off the page does not give the focus back as one that is closed does.
  return () => void mendFocus(opener);
}

/** Lets a click beside a dialog close it: for those that hold nothing to lose. */
export function closedFromOutside(dialog: HTMLDialogElement): () => void {
  const press = (event: PointerEvent) => {
    const box = dialog.getBoundingClientRect();
    const isInside =
      event.clientX >= box.left &&
      event.clientX <= box.right &&
      event.clientY >= box.top &&
      event.clientY <= box.bottom;
    // Lists of a select lie outside too, but the press is on the select.
    if (event.target === dialog && !isInside) dialog.close();
  };
  dialog.addEventListener('pointerdown', press);
  return () => dialog.removeEventListener('pointerdown', press);
}
