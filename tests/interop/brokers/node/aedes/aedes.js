// aedes with its sessions and messages in a level database: node aedes.js PORT DIRECTORY
'use strict'
const { createServer } = require('node:net')
const { Aedes } = require('aedes')
const { Level } = require('level')
const persistence = require('aedes-persistence-level')

async function main () {
  const [port, directory] = process.argv.slice(2)
  const broker = await Aedes.createBroker({ persistence: persistence(new Level(directory)) })
  const server = createServer(broker.handle)
  server.listen(Number(port), '127.0.0.1', () => console.log('started'))
  process.once('SIGTERM', () => {
    server.close()
    broker.close(() => process.exit(0))
  })
}

main()
