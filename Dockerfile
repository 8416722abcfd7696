# syntax=docker/dockerfile:1

# 1. The script, the dashboard's front end, the engine and the country database.
FROM node:20-bookworm-slim AS web
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY collector/tracker collector/tracker
COPY dashboard/web dashboard/web
RUN npm run build
COPY scripts/engine scripts/engine
# Under one name, because a file that a later step moves is in the image twice.
RUN scripts/engine/fetch && mv .cache/engine/node_modules/@chdb/lib-linux-*-gnu/libchdb.so /src/libchdb.so

# 2. The binary.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
COPY --from=web /src/collector/tracker/dist collector/tracker/dist
COPY --from=web /src/dashboard/dist dashboard/dist
ARG VERSION=devel
ARG COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.Version=${VERSION} -X main.Commit=${COMMIT}" -o /out/halfmask ./cmd/halfmask

# 3. The country database needs both npm and Go.
FROM build AS geoip
COPY --from=web /usr/local/bin/node /usr/local/bin/node
COPY --from=web /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && scripts/geoip/fetch

# 4. What runs. The engine needs glibc and nothing else.
FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/halfmask --create-home halfmask && chmod 0700 /var/lib/halfmask
COPY --from=build /out/halfmask /usr/bin/halfmask
COPY --from=web /src/libchdb.so /usr/lib/halfmask/libchdb.so
COPY --from=geoip /src/.cache/geoip/country.mmdb /usr/lib/halfmask/country.mmdb
# For --clickhouse with ?secure=true.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE NOTICE /usr/share/doc/halfmask/
USER halfmask
VOLUME /var/lib/halfmask
ENV HALFMASK_DATA=/var/lib/halfmask \
    HALFMASK_OPS_LISTEN=:8082
EXPOSE 8080 8081 8082
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["halfmask", "health"]
ENTRYPOINT ["halfmask"]
CMD ["serve"]
