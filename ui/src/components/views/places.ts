/** What each place of the rail shows. The order is that of `places` in `lib/app.svelte.ts`. */
import type { Component } from 'svelte';
import type { Place } from '../../lib/app.svelte';
import { ids } from '../../lib/testids';
import type { IconName } from '../shared/Icon.svelte';
import CharactersView from './CharactersView.svelte';
import ChatView from './ChatView.svelte';
import EvaluateView from './EvaluateView.svelte';
import GalleryView from './GalleryView.svelte';
import TeachView from './TeachView.svelte';

type Shown = { icon: IconName; id: string; view: Component };

export const views: Record<Exclude<Place, 'welcome'>, Shown> = {
  characters: { icon: 'masks', id: ids.navCharacters, view: CharactersView },
  teach: { icon: 'teach', id: ids.navTeach, view: TeachView },
  chat: { icon: 'chat', id: ids.navChat, view: ChatView },
  gallery: { icon: 'gallery', id: ids.navGallery, view: GalleryView },
  evaluate: { icon: 'measure', id: ids.navEvaluate, view: EvaluateView },
};
