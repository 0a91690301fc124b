# One static program and nothing else; runs as a Docker Space unchanged.
FROM rust:1-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p messymash-cli

FROM scratch
COPY --from=build /src/target/release/messymash /messymash
USER 1000:1000
EXPOSE 7860
ENTRYPOINT ["/messymash"]
CMD ["serve", "--host", "0.0.0.0", "--port", "7860"]
