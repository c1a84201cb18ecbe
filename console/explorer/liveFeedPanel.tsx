import { Button, type GraphiQLPlugin } from '@graphiql/react';
import { memo, useState } from 'react';
import { summaryOf, timeOf } from './eventSummary.ts';
import { PulseIcon } from './icons.tsx';
import { ENTRIES_MAX, type FeedEntry, type FeedStream, type LiveFeed } from './liveFeed.ts';
import { useObserved, type Observed } from './observed.ts';
import { READY_FEEDS } from './readyFeeds.ts';
import type { Connection } from './transport.ts';

/** The panel that shows all events of the running subscriptions; GraphiQL itself shows only the newest. */
export function liveFeedPlugin(feed: LiveFeed, connection: Observed<Connection>): GraphiQLPlugin {
  return {
    title: 'Live feed',
    icon: () => <Icon feed={feed} />,
    content: () => <LiveFeedPanel feed={feed} connection={connection} />,
  };
}

function LiveFeedPanel({ feed, connection }: { feed: LiveFeed; connection: Observed<Connection> }) {
  const { entries, streams, total, paused } = useObserved(feed.state);
  const running = new Set(streams.map(({ label }) => label));
  return (
    <section className="custos-panel custos-feed" aria-label="Live feed">
      <h2>Live feed</h2>
      <div className="custos-buttons" role="group" aria-label="Subscriptions">
        {READY_FEEDS.map(({ label, query, testId }) => (
          <Button
            key={label}
            aria-pressed={running.has(label)}
            onClick={() => (running.has(label) ? feed.stop(label) : feed.start(label, query))}
            data-testid={testId}
          >
            {label}
          </Button>
        ))}
      </div>
      {streams.length === 0 ? (
        <p>Press one, or run a subscription in the editor: each of its events is kept here.</p>
      ) : (
        <ul className="custos-streams" aria-label="Running subscriptions">
          {streams.map((stream) => (
            <StreamLine key={stream.id} stream={stream} connection={connection} />
          ))}
        </ul>
      )}
      <div className="custos-feed-bar">
        <output
          data-testid="live-feed-count"
          title={`The newest ${ENTRIES_MAX.toLocaleString('en')} are kept.`}
        >
          {total.toLocaleString('en')} {total === 1 ? 'event' : 'events'}
        </output>
        <Button aria-pressed={paused} onClick={() => feed.pause(!paused)} data-testid="live-feed-pause">
          {paused ? 'Resume' : 'Pause'}
        </Button>
        <Button onClick={feed.clear} disabled={total === 0} data-testid="live-feed-clear">
          Clear
        </Button>
      </div>
      {/* A scrolling region has to be reachable by keyboard. */}
      <div
        role="log"
        aria-label="Live feed events"
        className="custos-entries"
        tabIndex={0}
        data-testid="live-feed-events"
      >
        {entries.map((entry) => (
          <Entry key={entry.number} entry={entry} />
        ))}
      </div>
    </section>
  );
}

function StreamLine({ stream, connection }: { stream: FeedStream; connection: Observed<Connection> }) {
  const connected = useObserved(connection) === 'connected';
  const { label, caughtUpTo, resumes } = stream;
  return (
    <li data-testid="live-feed-stream">
      <span className={connected ? 'custos-light on' : 'custos-light'} aria-hidden="true" />
      <span>
        <strong>{label}</strong> {connected ? 'listening' : 'connecting'}
        {!resumes && ', without $after: what happens while disconnected is missed'}
        {caughtUpTo && (
          <small title={caughtUpTo.cursor}>
            caught up to <code>{caughtUpTo.cursor}</code> at {timeOf(caughtUpTo.at)}
          </small>
        )}
      </span>
    </li>
  );
}

const Entry = memo(({ entry }: { entry: FeedEntry }) => {
  const [open, setOpen] = useState(false);
  const { node, refusal, cursor, stream, receivedAt } = entry;
  const { at, text, grave } = summaryOf(node, refusal);
  const time = at ?? receivedAt;
  return (
    <details
      className={grave ? 'custos-entry grave' : 'custos-entry'}
      onToggle={(event) => setOpen(event.currentTarget.open)}
      data-testid="live-feed-event"
    >
      <summary>
        <time dateTime={time.toISOString()} title={time.toISOString()}>
          {timeOf(time)}
        </time>
        <span className="custos-summary">{text}</span>
        <small className="custos-origin">
          {stream}
          {cursor !== null && (
            <code title={`Cursor ${cursor}`} data-testid="live-feed-cursor">
              {cursor}
            </code>
          )}
        </small>
      </summary>
      {/* 1,000 closed entries need not be formatted. */}
      {open && <pre>{JSON.stringify(refusal ?? { cursor, node }, null, 2)}</pre>}
    </details>
  );
});

function Icon({ feed }: { feed: LiveFeed }) {
  const { streams } = useObserved(feed.state);
  return (
    <>
      <PulseIcon />
      {streams.length > 0 && <span className="custos-dot" />}
    </>
  );
}
