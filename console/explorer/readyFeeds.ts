/** A subscription that the live feed starts with one click. */
export interface ReadyFeed {
  readonly label: string;
  readonly testId: string;
  readonly query: string;
}

/** `after` is a variable, so that each resumes from its last cursor when the connection was lost. */
export const READY_FEEDS: readonly ReadyFeed[] = [
  {
    label: 'Failed logins',
    testId: 'live-feed-failed-logins',
    query: `subscription FailedLogins($after: String) {
  loginFailed(after: $after) {
    cursor
    node { email ipAddress reason occurredAt log { id } }
  }
}`,
  },
  {
    label: 'All records',
    testId: 'live-feed-all-records',
    query: `subscription AllRecords($after: String) {
  auditLogAppended(after: $after) {
    cursor
    node {
      id position createdAt action status severity resource resourceName ipAddress
      actor { type name email }
    }
  }
}`,
  },
  {
    label: 'Security events',
    testId: 'live-feed-security-events',
    query: `subscription SecurityEvents($after: String) {
  securityEventRaised(after: $after) {
    cursor
    node { id action severity occurredAt log { id } }
  }
}`,
  },
];
