import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaClient } from '@prisma/client';

const adapter = new PrismaPg({ connectionString: process.env.DATABASE_URL });
const prisma = new PrismaClient({ adapter });

const { id } = await prisma.boat.create({ data: { name: 'Kayak' } });
console.log(JSON.stringify(await prisma.boat.findUnique({ where: { id } })));
await prisma.$disconnect();
