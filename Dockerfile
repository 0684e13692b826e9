# Two stages: the first has the compiler and every dependency, the second what runs.
FROM node:26-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY . .
# Afterwards nothing is left but what the server reads, readable for any user.
RUN npm run build \
 && npm prune --omit=dev \
 && rm -rf src scripts tsconfig.json tsconfig.build.json \
 && chmod -R a+rX .

FROM node:26-slim
# Two mounts, because who copies the data should not have its key. The KEK is never made here
# unasked: put it into /kek/kek, or set KEYRINGD_KEK_AUTOCREATE=true for the first start. To give it
# as KEYRINGD_KEK instead, set KEYRINGD_KEK_FILE to nothing.
ENV NODE_ENV=production \
    KEYRINGD_HOST=0.0.0.0 \
    KEYRINGD_DATA_DIR=/data \
    KEYRINGD_KEK_FILE=/kek/kek \
    KEYRINGD_KEK_AUTOCREATE=false
RUN install -d -o node -g node -m 0700 /data /kek
WORKDIR /app
COPY --from=build /app ./
# By number, so that Kubernetes can tell it is not root. Only the mounts are written to:
# `docker run --read-only` works.
USER 1000:1000
VOLUME ["/data", "/kek"]
EXPOSE 4650
STOPSIGNAL SIGTERM
# The certificate is not judged: it is ours, and names the outside address.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["node", "--no-warnings", "-e", "const { KEYRINGD_PORT: port, KEYRINGD_TLS_CERT_FILE: tls } = process.env; if (tls) process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'; fetch(`${tls ? 'https' : 'http'}://127.0.0.1:${port || 4650}/healthz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "bin/keyringd.js"]
CMD ["serve"]
