import { mount } from 'svelte';
import './styles/tokens.css';
import './styles/base.css';
import Root from './App.svelte';
import { App } from './lib/app.svelte';
import { client } from './lib/ipc/client';
import { language, setLanguage } from './lib/messages/index.svelte';

setLanguage(language());
const target = document.getElementById('app');
if (target) mount(Root, { target, props: { app: new App(client) } });
