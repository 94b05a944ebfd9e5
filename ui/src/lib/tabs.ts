/** Keys of a list of tabs: arrows lead to the next or previous tab and show it, round and round. */
export function tabKey(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const tabs = [...event.currentTarget.querySelectorAll<HTMLElement>('[role=tab]')];
  const at = tabs.indexOf(event.target as HTMLElement);
  if (at < 0) return;
  const places: Record<string, number> = {
    ArrowRight: at + 1,
    ArrowLeft: at - 1,
    Home: 0,
    End: tabs.length - 1,
  };
  const place = places[event.key];
  const tab = place === undefined ? undefined : tabs[(place + tabs.length) % tabs.length];
  if (!tab) return;
  event.preventDefault();
  tab.click();
  tab.focus();
}
