/**
 * The event classes of https://schema.ocsf.io that Custos writes, as JSON Schema: transcribed from events/iam/*.json,
 * events/findings/detection_finding.json, dictionary.json and objects/*.json of https://github.com/ocsf/ocsf-schema. Required is what
 * is required there, and nothing is allowed that the class does not have.
 */
const text = { type: 'string', minLength: 1 };
const time = { type: 'integer', minimum: 0 };
const object = (properties: object, required: readonly string[] = []) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});
/** The objects `_entity`, `user` and `managed_entity` demand a name or a uid. */
const entity = (properties: object) => ({
  ...object({ uid: text, name: text, ...properties }),
  anyOf: [{ required: ['uid'] }, { required: ['name'] }],
});
const user = entity({ email_addr: text });

const base = {
  category_uid: { type: 'integer' },
  class_uid: { type: 'integer' },
  activity_id: { type: 'integer' },
  type_uid: { type: 'integer' },
  time,
  severity_id: { enum: [0, 1, 2, 3, 4, 5, 6, 99] },
  status_id: { enum: [0, 1, 2, 99] },
  status_code: text,
  message: text,
  metadata: object(
    {
      uid: text,
      version: { enum: ['1.9.0', '1.8.0'] },
      product: object({ name: text, vendor_name: text }, ['name']),
      event_code: text,
      correlation_uid: text,
      tenant_uid: text,
      sequence: { type: 'integer' },
    },
    ['version', 'product'],
  ),
  actor: object({ user, app_name: text }),
  src_endpoint: object({ ip: text }),
  http_request: object({ uid: text, user_agent: text }),
  unmapped: { type: 'object' },
};
const REQUIRED = ['category_uid', 'class_uid', 'activity_id', 'type_uid', 'time', 'severity_id', 'metadata'];

const eventClass = (
  { category, uid, activities }: { category: number; uid: number; activities: readonly number[] },
  properties: object,
  required: readonly string[],
) =>
  object(
    {
      ...base,
      category_uid: { const: category },
      class_uid: { const: uid },
      activity_id: { enum: [0, ...activities, 99] },
      type_uid: { enum: [0, ...activities, 99].map((activity) => uid * 100 + activity) },
      ...properties,
    },
    [...REQUIRED, ...required],
  );
const upTo = (last: number) => Array.from({ length: last }, (_, at) => at + 1);

const AUTHENTICATION = eventClass(
  { category: 3, uid: 3002, activities: upTo(5) },
  { user, service: entity({}) },
  ['user', 'service'],
);
const ENTITY_MANAGEMENT = eventClass(
  { category: 3, uid: 3004, activities: upTo(11) },
  { entity: entity({ type: text }) },
  ['entity'],
);
const DETECTION_FINDING = eventClass(
  { category: 2, uid: 2004, activities: upTo(3) },
  {
    is_alert: { type: 'boolean' },
    finding_info: object(
      {
        uid: text,
        title: text,
        created_time: time,
        types: { type: 'array', items: text },
        related_events: { type: 'array', items: object({ uid: text }, ['uid']) },
      },
      ['uid', 'title'],
    ),
  },
  ['finding_info'],
);
const ACCOUNT_CHANGE = eventClass({ category: 3, uid: 3001, activities: upTo(11) }, { user }, ['user']);
const USER_MANAGEMENT = eventClass({ category: 3, uid: 3007, activities: upTo(17) }, { user }, ['user']);

/** Every event of a version is one of these. */
export const OCSF_SCHEMAS = {
  OCSF: { oneOf: [AUTHENTICATION, ENTITY_MANAGEMENT, DETECTION_FINDING, USER_MANAGEMENT] },
  OCSF_1_8: { oneOf: [AUTHENTICATION, ENTITY_MANAGEMENT, DETECTION_FINDING, ACCOUNT_CHANGE] },
} as const;
