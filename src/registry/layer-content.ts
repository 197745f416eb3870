import { createHash } from 'node:crypto';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { messageOf, WherryError } from '../base/errors.js';

/**
 * The tar of a layer blob (OCI image-spec, layer.md), hashed on the way: layers are cached by diffId, so content that is
 * not that of its diffId must never pass for it. Throws LAYER_INVALID.
 */
export async function* decompressLayer(
  stream: Readable,
  layer: { readonly mediaType: string; readonly diffId: string },
): AsyncIterable<Uint8Array> {
  const hash = createHash('sha256');
  try {
    for await (const part of openContent(stream, layer.mediaType)) {
      hash.update(part as Uint8Array);
      yield part as Uint8Array;
    }
  } catch (thrown) {
    if (thrown instanceof WherryError) throw thrown;
    throw new WherryError('LAYER_INVALID', `layer '${layer.diffId}' could not be read: ${messageOf(thrown)}`, {
      hint: 'push the image again',
      cause: thrown,
    });
  } finally {
    stream.destroy();
  }
  const actual = `sha256:${hash.digest('hex')}`;
  if (actual === layer.diffId) return;
  throw new WherryError('LAYER_INVALID', `layer '${layer.diffId}' holds the content of '${actual}'`, {
    hint: 'build the image again with a tool you trust',
  });
}

function openContent(stream: Readable, mediaType: string): Readable {
  if (/[+.]tar$/.test(mediaType)) return stream;
  if (/[+.]gzip$/.test(mediaType)) {
    // Failures of the source reach whoever reads the result, so the callback has nothing to do.
    return pipeline(stream, createGunzip(), () => {});
  }
  stream.destroy();
  throw new WherryError('LAYER_INVALID', `layers of type '${mediaType}' are not supported`, { hint: 'push the image with gzip layers' });
}
