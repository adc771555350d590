export const title = 'Before';
