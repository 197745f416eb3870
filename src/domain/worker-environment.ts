/**
 * Where workers find their volume, and in it the cache of models (endpoint-settings §6): images in the wild have the path written into them.
 */
export const VOLUME_ROOT = '/runpod-volume';
