/**
 * An action for `<details>` menus: a click elsewhere or Escape closes them. The focus of one that closes
 * goes back to its head, unless a click or what was chosen took it elsewhere.
 */
export function menu(node: HTMLDetailsElement): { destroy: () => void } {
  let isLeft = false;
  const press = (event: PointerEvent) => {
    if (node.contains(event.target as Node)) return;
    isLeft = true;
    node.open = false;
  };
  const key = (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || !node.open) return;
    node.open = false;
    node.querySelector('summary')?.focus();
  };
  // Only while it is open: a long list has a menu in each row.
  const listen = () => {
    document.addEventListener('pointerdown', press);
    document.addEventListener('keydown', key);
  };
  const rest = () => {
    document.removeEventListener('pointerdown', press);
    document.removeEventListener('keydown', key);
  };
  const giveBack = () => {
    const at = document.activeElement;
    const isLost = at === document.body || (at !== null && node.contains(at));
    if (isLost && !isLeft) node.querySelector('summary')?.focus({ preventScroll: true });
  };
  const toggled = () => {
    if (node.open) {
      isLeft = false;
      listen();
    } else {
      rest();
      giveBack();
    }
  };
  node.addEventListener('toggle', toggled);
  if (node.open) listen();
  return {
    destroy() {
      node.removeEventListener('toggle', toggled);
      rest();
    },
  };
}

/** Opens a card that lies above its menu below it, where what scrolls around it would cut it off. */
export function whereItFits(card: HTMLElement): void {
  const top = card.closest('[role=log]')?.getBoundingClientRect().top ?? 0;
  card.classList.toggle('below', card.getBoundingClientRect().top < top);
}
