# The server, for a database of its own: it needs DATABASE_URL. See docs/operation.md.
FROM node:20-bookworm-slim AS build
WORKDIR /app
COPY . .
# Generates and builds, too: the package's `prepare`.
RUN npm ci

# What runs needs neither what builds nor the embedded PostgreSQL, which is an optional package.
FROM node:20-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
COPY client/package.json client/
COPY console/package.json console/
RUN npm ci --omit=dev --omit=optional --ignore-scripts --workspaces=false

FROM node:20-bookworm-slim
ENV NODE_ENV=production HOST=0.0.0.0 PORT=4000 CUSTOS_DATA_DIR=/var/lib/custos
RUN install -d -o node -g node -m 0700 /var/lib/custos
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/package.json package.json
COPY --from=build /app/schema schema
COPY --from=build /app/drizzle drizzle
COPY --from=build /app/client/schema.graphql client/schema.graphql
COPY --from=build /app/client/package.json node_modules/@custos/client/package.json
COPY --from=build /app/client/dist node_modules/@custos/client/dist
COPY --from=build /app/console/dist console/dist
USER node
VOLUME /var/lib/custos
EXPOSE 4000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/healthz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# Not through npm or a shell, so that SIGTERM reaches the server.
CMD ["node", "dist/main.js"]
