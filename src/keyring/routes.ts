import type { FastifyRequest } from 'fastify'
import type { Resource } from '../context.ts'
import { NoContent } from '../http/fields.ts'
import type { Routes } from '../http/server.ts'
import { toPlanStep, toProfileDocument } from './documents.ts'
import type { Keyring } from './keyring.ts'
import { policyOfRow } from './profile-service.ts'
import {
  ClockConfirm,
  KeyList,
  KeyParams,
  PlanDocument,
  ProfileBody,
  ProfileDocument,
  ProfileList,
  ProfileParams,
  type RemoteSetDocument,
  RingCreate,
  RingDocument,
  RingList,
  RingParams,
  RotateBody,
  Rotated,
  StatusDocument,
} from './schema.ts'

/** The ring a route's path names: what its capability must cover. */
export const onRing = (request: FastifyRequest): Resource => ({
  ring: String((request.params as { ring?: unknown }).ring),
})

const needs = (capability: string) => ({ config: { capability: { capability, on: onRing } } })

/** Our own ring API: `/v1/rings`, `/v1/status`; to be registered inside the scope of our own routes. */
export function ringRoutes(keyring: Keyring, remoteSets: () => RemoteSetDocument[]): Routes {
  const tags = ['rings']

  return async (app) => {
    app.get(
      '/v1/status',
      {
        config: { capability: 'keyring-read' },
        schema: {
          ...{ tags, operationId: 'status', summary: 'Rings, key ages, next steps and when' },
          response: { 200: StatusDocument },
        },
      },
      async () => ({ ...(await keyring.status()), remoteSets: remoteSets() }),
    )

    app.post(
      '/v1/clock/confirm',
      {
        config: { capability: 'settings' },
        schema: {
          ...{ tags, operationId: 'confirmClock', summary: 'Says that the wall clock is right' },
          body: ClockConfirm,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await keyring.confirmClock(request.body.reason, request.principal)
        return reply.code(204).send()
      },
    )

    app.get(
      '/v1/rings',
      {
        config: { capability: 'keyring-read' },
        schema: {
          ...{ tags, operationId: 'listRings', summary: 'Lists rings' },
          response: { 200: RingList },
        },
      },
      async () => ({ rings: keyring.listRings() }),
    )

    app.post(
      '/v1/rings',
      {
        config: { capability: 'ring-manage' },
        schema: {
          ...{ tags, operationId: 'createRing', summary: 'Makes a ring with its first keys' },
          body: RingCreate,
          response: { 201: RingDocument },
        },
      },
      async (request, reply) =>
        reply.code(201).send(await keyring.createRing(request.body, request.principal)),
    )

    app.get(
      '/v1/rings/:ring',
      {
        ...needs('keyring-read'),
        schema: {
          ...{ tags, operationId: 'getRing', summary: 'Describes a ring' },
          params: RingParams,
          response: { 200: RingDocument },
        },
      },
      async (request) => keyring.getRing(request.params.ring),
    )

    app.get(
      '/v1/rings/:ring/keys',
      {
        ...needs('keyring-read'),
        schema: {
          ...{ tags, operationId: 'listKeys', summary: 'Lists the keys of a ring' },
          params: RingParams,
          response: { 200: KeyList },
        },
      },
      async (request) => ({ keys: await keyring.listKeys(request.params.ring) }),
    )

    app.get(
      '/v1/rings/:ring/plan',
      {
        ...needs('keyring-read'),
        schema: {
          ...{ tags, operationId: 'plan', summary: 'What will happen to the keys, when, and why' },
          params: RingParams,
          response: { 200: PlanDocument },
        },
      },
      async (request) => ({
        plan: (await keyring.rotation.plan(request.params.ring)).map(toPlanStep),
      }),
    )

    app.post(
      '/v1/rings/:ring/rotate',
      {
        ...needs('keyring-rotate'),
        schema: {
          ...{ tags, operationId: 'rotateRing', summary: 'Makes the standby active' },
          params: RingParams,
          body: RotateBody.nullish(),
          response: { 200: Rotated },
        },
      },
      async (request) => keyring.rotate(request.params.ring, request.body ?? {}, request.principal),
    )

    app.delete(
      '/v1/rings/:ring/keys/:kid',
      {
        ...needs('keyring-delete'),
        schema: {
          ...{ tags, operationId: 'deleteRingKey', summary: 'Deletes a key that nothing needs' },
          params: KeyParams,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await keyring.removal.remove(request.params, request.principal)
        return reply.code(204).send()
      },
    )

    app.get(
      '/v1/rings/:ring/profiles',
      {
        ...needs('keyring-read'),
        schema: {
          ...{ tags, operationId: 'listProfiles', summary: 'Lists the signing profiles of a ring' },
          params: RingParams,
          response: { 200: ProfileList },
        },
      },
      async (request) => {
        const rows = await keyring.profiles.list(request.params.ring)
        return { profiles: rows.map((row) => toProfileDocument(row, policyOfRow(row))) }
      },
    )

    app.get(
      '/v1/rings/:ring/profiles/:name',
      {
        ...needs('keyring-read'),
        schema: {
          ...{ tags, operationId: 'getProfile', summary: 'Describes a signing profile' },
          params: ProfileParams,
          response: { 200: ProfileDocument },
        },
      },
      async (request) => {
        const row = await keyring.profiles.get(request.params.ring, request.params.name)
        return toProfileDocument(row, policyOfRow(row))
      },
    )

    app.put(
      '/v1/rings/:ring/profiles/:name',
      {
        ...needs('ring-manage'),
        schema: {
          ...{ tags, operationId: 'putProfile', summary: 'Makes or replaces a signing profile' },
          params: ProfileParams,
          body: ProfileBody,
          response: { 200: ProfileDocument },
        },
      },
      async (request) => {
        const { ring, name } = request.params
        const row = await keyring.profiles.put(ring, name, request.body, request.principal)
        return toProfileDocument(row, policyOfRow(row))
      },
    )

    app.delete(
      '/v1/rings/:ring/profiles/:name',
      {
        ...needs('ring-manage'),
        schema: {
          ...{ tags, operationId: 'deleteProfile', summary: 'Deletes a signing profile' },
          params: ProfileParams,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        const { ring, name } = request.params
        await keyring.profiles.delete(ring, name, request.principal)
        return reply.code(204).send()
      },
    )
  }
}
