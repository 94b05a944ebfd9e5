/** Everything that the command palette offers, from the present state. */
import { places, zooms, type App, type Theme } from '../../lib/app.svelte';
import { createCharacter, importCards, importRolescape } from '../../lib/characters/make';
import type { ChatSummary } from '../../lib/ipc/bindings/ChatSummary';
import { languages, setLanguage, t, type Language } from '../../lib/messages/index.svelte';
import type { Command } from '../../lib/palette';

export function commands(app: App, chats: ChatSummary[]): Command[] {
  const { newChat, search } = app.actions;
  const nameOf = (id: string) => app.characters.find((c) => c.id === id)?.name;
  const themes: [Theme, string][] = [
    ['system', t('themeSystem')],
    ['light', t('themeLight')],
    ['dark', t('themeDark')],
  ];
  return [
    ...places.map((place, index) => ({
      id: `place-${place}`,
      title: t(place),
      group: t('goTo'),
      hint: `Ctrl ${index + 1}`,
      run: () => app.go(place),
    })),
    ...(newChat
      ? [{ id: 'new-chat', title: t('newChat'), group: t('actions'), hint: 'Ctrl N', run: newChat }]
      : []),
    ...(search
      ? [
          {
            id: 'search',
            title: app.place === 'chat' ? t('searchHere') : t('search'),
            group: t('actions'),
            hint: 'Ctrl F',
            run: search,
          },
        ]
      : []),
    {
      id: 'new-character',
      title: t('newCharacter'),
      group: t('actions'),
      run: () => createCharacter(app),
    },
    {
      id: 'import-cards',
      title: t('importCards'),
      group: t('actions'),
      run: () => importCards(app),
    },
    {
      id: 'import-rolescape',
      title: t('importRolescape'),
      group: t('actions'),
      run: () => importRolescape(app),
    },
    {
      id: 'inspector',
      title: t('inspectorFold'),
      group: t('actions'),
      hint: 'Ctrl .',
      run: () => app.toggleInspector(),
    },
    {
      id: 'shortcuts',
      title: t('shortcuts'),
      group: t('actions'),
      hint: '?',
      run: () => (app.isSheetOpen = true),
    },
    {
      id: 'deleted',
      title: t('deletedTitle'),
      group: t('actions'),
      run: () => (app.isDeletedOpen = true),
    },
    { id: 'welcome', title: t('welcome'), group: t('goTo'), run: () => app.go('welcome') },
    ...app.characters
      .filter((c) => !c.problem)
      .map((c) => ({
        id: `talk-${c.id}`,
        title: t('chatNow', { name: c.name }),
        group: t('characters'),
        run: () => app.go('chat', c.id),
      })),
    // Those of a deleted character come back with it.
    ...chats.flatMap((chat) => {
      const hint = nameOf(chat.characterId);
      if (hint === undefined) return [];
      const title = chat.title || t('newChat');
      return [{ id: `chat-${chat.id}`, title, group: t('chats'), hint, run: () => app.openChat(chat) }];
    }),
    ...themes.map(([theme, title]) => ({
      id: `theme-${theme}`,
      title: `${t('theme')}: ${title}`,
      group: t('theme'),
      run: () => app.setTheme(theme),
    })),
    ...Object.entries(languages).map(([code, name]) => ({
      id: `language-${code}`,
      title: `${t('language')}: ${name}`,
      group: t('language'),
      run: () => setLanguage(code as Language),
    })),
    ...zooms.map((percent) => ({
      id: `zoom-${percent}`,
      title: t('zoomTo', { percent }),
      group: t('zoom'),
      run: () => app.setZoom(percent),
    })),
    // Last, and with the name behind more words: a name alone finds the chat.
    ...app.characters.map((c) => ({
      id: `open-${c.id}`,
      title: t('editCharacter', { name: c.name }),
      group: t('characters'),
      run: () => app.go('characters', c.id),
    })),
    ...app.characters
      .filter((c) => !c.problem)
      .map((c) => ({
        id: `teach-${c.id}`,
        title: t('teachCharacter', { name: c.name }),
        group: t('teach'),
        run: () => app.go('teach', c.id),
      })),
    ...app.characters.map((c) => ({
      id: `gallery-${c.id}`,
      title: t('openGallery', { name: c.name }),
      group: t('gallery'),
      run: () => app.openGallery(c.id),
    })),
  ];
}
