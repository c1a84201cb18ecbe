import { explorerPlugin } from '@graphiql/plugin-explorer';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { createRoot } from 'react-dom/client';
import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import '@graphiql/plugin-explorer/style.css';
import './explorer.css';
import { ShieldIcon } from './icons.tsx';
import { openLiveFeed } from './liveFeed.ts';
import { liveFeedPlugin } from './liveFeedPanel.tsx';
import { readRecipes } from './recipes.ts';
import { recipesPlugin } from './recipesPanel.tsx';
import { openSession } from './session.ts';
import { sessionPlugin } from './sessionPanel.tsx';
import { openFetcher, openSocket } from './transport.ts';
import WELCOME from './welcome.graphql?raw';

const EXAMPLES = import.meta.glob<string>('../../schema/examples/*.graphql', {
  query: '?raw',
  import: 'default',
  eager: true,
});

const session = openSession(sessionStorage);
const socket = openSocket(session);
const feed = openLiveFeed((payload, sink) => socket.client.subscribe(payload, sink));
session.onSwitch(feed.forgetCursors);
const fetcher = openFetcher(session, socket, feed);

const sessionPanel = sessionPlugin(session);
const plugins = [
  sessionPanel,
  liveFeedPlugin(feed, socket.connection),
  recipesPlugin(readRecipes(EXAMPLES)),
  explorerPlugin({ showAttribution: false }),
  HISTORY_PLUGIN,
];
const startsSignedOut = session.state.get().person === null;

const root = document.querySelector('#root');
if (!root) throw new Error('index.html has no #root.');
createRoot(root).render(
  <GraphiQL
    fetcher={fetcher}
    plugins={plugins}
    {...(startsSignedOut && { visiblePlugin: sessionPanel })}
    // Editors hold passwords (login, changePassword): what they hold goes with the tab.
    storage={sessionStorage}
    defaultTabs={[{ query: WELCOME }]}
    defaultEditorToolsVisibility={false}
    inputValueDeprecation
    schemaDescription
  >
    <GraphiQL.Logo>
      <span className="custos-logo">
        <ShieldIcon />
        Custos
      </span>
    </GraphiQL.Logo>
  </GraphiQL>,
);
